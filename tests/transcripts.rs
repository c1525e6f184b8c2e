//! The program's commands as users type them: what it prints and how it ends.
//!
//! Each file below `tests/cmd` is a transcript, one for each command; `[..]` is any text in a
//! line, `...` any lines. `TRYCMD=overwrite cargo test --test transcripts` writes them again:
//! read the difference before you commit it.
#![allow(clippy::expect_used)]

use std::thread;
use std::time::Duration;

use claude_proxy::demo::Demo;

#[test]
fn transcripts() {
    let upstream = upstream();
    let cases = trycmd::TestCases::new();
    if cfg!(windows) {
        // What it runs is a shell's.
        cases.skip("tests/cmd/run.trycmd");
    }
    cases
        .env("UPSTREAM", &upstream)
        .env("COLUMNS", "100")
        .env("NO_COLOR", "")
        .env("CONFIG_PATH", "config.json")
        .env("SHELL", "/bin/bash")
        .env("ANTHROPIC_API_KEY", "")
        .env("CLAUDE_PROXY_KEY", "key-of-the-transcripts")
        .env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .insert_var("[UPSTREAM]", upstream)
        .expect("a fixed substitution")
        .case("tests/cmd/*.trycmd")
        .case("tests/cmd/*.toml");
}

/// Starts the demo model and gives its address, `http://127.0.0.1:PORT`. Configurations of the
/// transcripts name it `${UPSTREAM}`.
fn upstream() -> String {
    let demo = Demo::bind(Duration::ZERO).expect("a free port");
    let url = demo.base_url();
    thread::spawn(|| actix_web::rt::System::new().block_on(demo.run()));
    url
}
