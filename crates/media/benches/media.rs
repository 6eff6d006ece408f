//! What one 20 ms packet costs on its way from wire bytes to samples.
fn main() {
    divan::main();
}
