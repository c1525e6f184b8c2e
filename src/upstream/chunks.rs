//! The chunked coding (RFC 9112, 7.1), taken off in place.

use std::io;

/// Where in the coding the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The first digit of a chunk's size.
    Size,
    /// A later one, or what follows it.
    SizeRest,
    /// Blanks behind the size.
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Behind the size of the last chunk, which is none.
    Last,
    Bad(&'static str),
}

/// A body in chunks, as far as it was read. As strict as awc.
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Of this chunk, in bytes.
    left: u64,
}

/// What [`Chunks::strip`] has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stripped {
    /// So many bytes of the body stand at the front now.
    pub(super) data: usize,
    /// The last chunk's size line ends here; what follows is not looked at.
    pub(super) end: Option<usize>,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { at: At::Size, left: 0 }
    }

    /// Moves the body's bytes among these to their front.
    pub(super) fn strip(&mut self, bytes: &mut [u8]) -> Stripped {
        let (mut read, mut data) = (0, 0);
        while let Some(&byte) = bytes.get(read) {
            if self.at == At::Data {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - read);
                bytes.copy_within(read..read + n, data);
                read += n;
                data += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                continue;
            }
            read += 1;
            self.at = self.step(byte);
            match self.at {
                At::Last => return Stripped { data, end: Some(read) },
                At::Bad(_) => break,
                _ => {}
            }
        }
        Stripped { data, end: None }
    }

    /// Past one byte that is not of the body.
    fn step(&mut self, byte: u8) -> At {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self.at, byte) {
            (At::Size, _) => {
                let Some(digit) = digit else { return At::Bad("a chunk does not begin with its size") };
                self.left = digit;
                At::SizeRest
            }
            (At::SizeRest | At::Blank, b' ' | b'\t') => At::Blank,
            (At::SizeRest | At::Blank, b';') | (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => At::Extension,
            (At::SizeRest | At::Blank | At::Extension, b'\r') => At::SizeLf,
            (At::SizeRest, _) => match (digit, self.left.checked_mul(16)) {
                (Some(digit), Some(left)) => {
                    self.left = left + digit;
                    At::SizeRest
                }
                (Some(_), None) => At::Bad("the size of a chunk is too large"),
                (None, _) => At::Bad("the size of a chunk is not a number"),
            },
            (At::SizeLf, b'\n') if self.left == 0 => At::Last,
            (At::SizeLf, b'\n') => At::Data,
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::DataCr | At::DataLf, _) => At::Bad("a chunk is longer than its size"),
            (bad @ At::Bad(_), _) => bad,
            _ => At::Bad("the line with a chunk's size is not valid"),
        }
    }

    /// The bytes were no chunks.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.at {
            At::Bad(what) => Err(io::Error::new(io::ErrorKind::InvalidInput, what)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, what follows the last size line, and whether all of it was chunks; fed in pieces
    /// of `step` bytes.
    fn stripped(bytes: &[u8], step: usize) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let (mut chunks, mut body) = (Chunks::new(), Vec::new());
        for (n, piece) in bytes.chunks(step).enumerate() {
            let mut piece = piece.to_vec();
            let Stripped { data, end } = chunks.strip(&mut piece);
            body.extend_from_slice(&piece[..data]);
            if let Some(end) = end {
                return (body, Some(bytes[n * step + end..].to_vec()), true);
            }
        }
        (body, None, chunks.check().is_ok())
    }

    #[test]
    fn chunks_come_off_however_they_are_cut() {
        let all = b"4\r\nabcd\r\n00A;x=\"y\"\r\n0123\r\n6789\r\n1 \t\r\n\n\r\n0\r\nX: y\r\n\r\nrest";
        for step in 1..=all.len() {
            let (body, rest, valid) = stripped(all, step);
            assert_eq!(body, b"abcd0123\r\n6789\n", "{step}");
            assert_eq!(rest.as_deref(), Some(&b"X: y\r\n\r\nrest"[..]), "{step}");
            assert!(valid);
        }
    }

    #[test]
    fn what_is_no_chunk_is_told_so() {
        for (bad, body) in [
            (&b"\r\n"[..], &b""[..]),
            (b"x\r\n", b""),
            (b"-1\r\n", b""),
            (b"1g\r\n", b""),
            (b"1 1\r\n", b""),
            (b"1;\n", b""),
            (b"1\n", b""),
            (b"10000000000000000\r\n", b""),
            (b"2\r\nabc\r\n", b"ab"),
            (b"2\r\nab\n", b"ab"),
            (b"2\r\nab\r\r", b"ab"),
        ] {
            for step in 1..=bad.len() {
                assert_eq!(stripped(bad, step), (body.to_vec(), None, false), "{}", bad.escape_ascii());
            }
        }
        assert_eq!(stripped(b"fffffffffffffffe\r\nabc", 5), (b"abc".to_vec(), None, true));
    }
}
