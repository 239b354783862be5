//! The demo shows what it promises: the tour runs every command that it prints, and waits for what has to come of it.

use drover_e2e::demo::{Ending, run};
use drover_e2e::{Program, require_or_skip};

drover_e2e::tests![everything_there_is_to_try_comes_true,];

async fn everything_there_is_to_try_comes_true() {
    if !require_or_skip("the demo", &Program::ALL).await.unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    run(&folder, Ending::Tour).await.unwrap();
    assert!(!folder.exists(), "it leaves nothing behind");
}
