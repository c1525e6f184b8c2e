//! Counts of whole files, and of several threads at once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use claude_proxy::convert::count::{Known, tokens};

#[test]
fn our_own_sources_count_as_the_reference_counts_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["", "docs", "src/convert", "src/cli/completions", "tests/fixtures", "tests/agents"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file()
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let reference = tiktoken_rs::o200k_base_singleton().count_ordinary(&text) as u64;
                assert_eq!(tokens(&text, &mut || ()), reference, "{}", path.display());
            }
        }
    }
}

#[test]
fn threads_agree() {
    let known = Known::default();
    let texts: Vec<String> = (0..20).map(|n| format!("{n} {}", "x y ".repeat(64))).collect();
    let alone: Vec<u64> = texts.iter().map(|text| tokens(text, &mut || ())).collect();
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let (known, texts, alone) = (&known, &texts, &alone);
            scope.spawn(move || {
                for n in 0..100 {
                    let n = (n * 7 + turn) % texts.len();
                    assert_eq!(known.tokens(&texts[n], &mut || ()), alone[n]);
                }
            });
        }
    });
}
