//! A network of a test's own: one of its functions, run again by the same executable where nobody
//! else is, and where the loopback may be made to fail or to carry less.

use tokio::process::Command;

use crate::{left_out, within};

/// How a network of one's own is had: by whoever may have a user namespace, and by root (`ip netns`
/// asks the kernel for the same, and leaves a name behind).
const WAYS: [&[&str]; 2] = [&["-rn"], &["-n"]];
/// Set for the function that runs there.
const IS_THERE: &str = "TEST_RUNS_IN_ITS_OWN_NETWORK";

/// Whether this is the function that was run again.
pub fn is_there() -> bool {
    std::env::var_os(IS_THERE).is_some()
}

/// Runs a test of this executable in a network of its own, after these commands of the shell there
/// and before those; what all of them said. `None`, and a note, where no such network can be had.
///
/// # Panics
/// If the test fails there; and in CI (`CI` is set), where no such network can be had.
pub async fn run_there(before: &str, test: &str, after: &str) -> Option<String> {
    let Some(way) = possible().await else {
        let what = "no network namespaces here: unshare is forbidden to us, with a user namespace and \
                    without; run the tests as root, or allow unprivileged user namespaces";
        left_out(what);
        return None;
    };
    let script = format!("{before} && \"$0\" --exact --nocapture \"$1\" && {after}");
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", &script]).arg(std::env::current_exe().unwrap()).arg(test);
    let output = command.env(IS_THERE, "1").kill_on_drop(true).output();
    let output = within("the test in its own network", output).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complaints}");
    Some(said)
}

async fn possible() -> Option<&'static [&'static str]> {
    for way in WAYS {
        let tried = Command::new("unshare").args(way).arg("true").output().await;
        if tried.is_ok_and(|it| it.status.success()) {
            return Some(way);
        }
    }
    None
}
