//! `man`: the pages under man/.

use std::fs;
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::args::{Cli, ManArgs};
use super::{Exit, Printer};

/// Runs the command.
pub(super) fn run(args: &ManArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let pages = pages()?;
    let Some(dir) = &args.dir else {
        let (_, page) = pages.first().context("internal error: no pages")?;
        printer.data().write_all(page)?;
        return Ok(Exit::Success);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (name, page) in &pages {
        let path = dir.join(name);
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    printer.note(format_args!("Wrote {} pages to {}", pages.len(), dir.display()));
    Ok(Exit::Success)
}

/// File name and text of each page: the whole program first, then its commands.
pub fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut whole = Cli::command();
    whole.build();
    let names: Vec<String> = whole.get_subcommands().filter(|c| !c.is_hide_set()).map(page_name).collect();
    let mut pages = vec![page(&whole, &names)?];
    for command in whole.get_subcommands().filter(|c| !c.is_hide_set()) {
        pages.push(page(command, &[page_name(&whole)])?);
    }
    Ok(pages)
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command, see_also: &[String]) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone()).manual("claude-proxy").date("");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    let mut roff = Roff::new();
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let (mut notes, mut examples, mut exit) = (Vec::new(), None, None);
    for block in help.split("\n\n") {
        if let Some(lines) = block.strip_prefix("Examples:\n") {
            examples = Some(lines);
        } else if let Some(text) = block.strip_prefix("Exit codes: ") {
            exit = Some(text);
        } else if !block.trim().is_empty() {
            notes.push(block);
        }
    }
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for note in notes {
            roff.control("PP", []).text([roman(note.replace('\n', " "))]);
        }
    }
    if let Some(lines) = examples {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman(exit.unwrap_or(EXIT_CODES).replace('\n', " "))]);
    roff.control("SH", ["SEE ALSO"]);
    let refs: Vec<String> = see_also.iter().map(|name| format!("{name}(1)")).collect();
    roff.text([roman(refs.join(", "))]);
    roff.to_writer(&mut out)?;
    Ok((man.get_filename(), out))
}

/// Where a command does not say it.
const EXIT_CODES: &str = "0 done, 1 the thing failed, 2 the command line is wrong.";
