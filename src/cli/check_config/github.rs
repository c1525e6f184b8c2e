//! Findings as annotations of a GitHub Actions job: workflow commands on standard output.

use std::io::{self, Write};
use std::path::Path;

use crate::config::{Finding, Severity};

/// `::error file=F,line=L,col=C,endLine=E,endColumn=D,title=T::text`.
pub(super) fn annotation(out: &mut impl Write, file: &Path, finding: &Finding, text: &str) -> io::Result<()> {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    write!(out, "::{level} ")?;
    if file.as_os_str() != "-" {
        let name = file.display().to_string();
        let name = if cfg!(windows) { name.replace('\\', "/") } else { name };
        write!(out, "file={},", property(&name))?;
    }
    let Finding { line, column, code, message, help, .. } = finding;
    write!(out, "line={line},")?;
    let (end_line, end_column) = finding.end(text);
    // Columns of a range over several lines are refused.
    if end_line == *line {
        write!(out, "col={column},endColumn={end_column},")?;
    } else {
        write!(out, "endLine={end_line},")?;
    }
    let said = if help.is_empty() { message.clone() } else { format!("{message}\nhelp: {help}") };
    writeln!(out, "title=claude-proxy {}::{}", property(code.as_str()), data(&said))
}

/// Text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check;

    fn lines(file: &str, text: &str) -> String {
        let mut out = Vec::new();
        for finding in check(text, &|_| Err(std::env::VarError::NotPresent)).findings {
            annotation(&mut out, Path::new(file), &finding, text).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_ends_a_command_or_a_property_is_escaped() {
        let text = "{\"a%\\r\\n::x\": 1,\n\"providers\": [\n]}";
        assert_eq!(
            lines("a,b:c%.json", text),
            "::warning file=a%2Cb%3Ac%25.json,line=1,col=2,endColumn=13,title=claude-proxy unknown-key\
             ::unknown key `a%25\\r\\n::x` in the top level\n\
             ::error file=a%2Cb%3Ac%25.json,line=2,endLine=3,title=claude-proxy no-providers\
             ::`providers` is empty: at least one upstream is needed\n"
        );
    }

    #[test]
    fn help_is_a_line_of_its_own_and_standard_input_has_no_name() {
        let text = "{\"ak\": \"${X}\"}";
        let lines = lines("-", text);
        assert!(lines.contains("::error line=1,col=8,endColumn=14,"), "{lines}");
        assert!(lines.contains("is not set%0Ahelp: export `X`"), "{lines}");
    }
}
