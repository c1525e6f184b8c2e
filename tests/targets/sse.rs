//! The decoder: however the bytes are cut, the events are the same, and no more than one is held.

use claude_proxy::wire::sse::SseDecoder;

use super::{choices, cuts, pieces};

/// Largest event, by the first byte.
const LIMITS: [usize; 4] = [8, 64, 1024, 1 << 20];

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Event(Vec<u8>, Vec<u8>),
    TooLarge,
}

/// Decodes the pieces; stops at the first fault, as everybody does.
fn decode(pieces: &[&[u8]], max: usize) -> Vec<Seen> {
    let mut decoder = SseDecoder::new(max);
    let mut out = Vec::new();
    for piece in pieces.iter().map(Some).chain([None]) {
        if let Some(piece) = piece {
            decoder.push(piece);
        }
        loop {
            let next = if piece.is_some() { decoder.next_event() } else { decoder.last_event() };
            match next {
                None => break,
                Some(Err(_)) => {
                    out.push(Seen::TooLarge);
                    return out;
                }
                Some(Ok(event)) => {
                    assert!(event.name.len() <= max && event.data.len() <= max, "an event beyond the limit");
                    for text in [event.name, event.data.split(|b| *b == b'\n').next().unwrap()] {
                        assert!(!text.contains(&b'\r') && !text.contains(&b'\n'));
                    }
                    out.push(Seen::Event(event.name.to_vec(), event.data.to_vec()));
                }
            }
        }
        // A name, data, and a line that is not whole, with its `data: `.
        assert!(decoder.retained() <= 3 * max + 6, "{} bytes held", decoder.retained());
    }
    out
}

pub fn run(data: &[u8]) {
    let Some(([limit, seed], bytes)) = choices(data) else { return };
    let max = LIMITS[usize::from(limit) % LIMITS.len()];
    let whole = decode(&[bytes], max);
    let cut = decode(&pieces(bytes, &cuts(seed, bytes.len())), max);
    assert_eq!(whole, cut);
    if bytes.len() < 600 {
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(whole, decode(&single, max));
    }
}
