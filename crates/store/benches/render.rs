//! What finishing a call costs.
fn main() {
    divan::main();
}
