//! From HTML to text that a model reads: Markdown, as far as it has meaning.
//!
//! Only html5gum's tokenizer reads the page, and no tree is built of it. Trees are what hostile
//! pages are made for: of 100,000 nested tags a converter that walks one overflowed its stack,
//! which ends the process, and another was still at work after 20 seconds. Here both time and
//! memory grow with the page's length alone.

mod events;
mod markdown;
mod tags;

use html5gum::emitters::callback::CallbackEvent;
use url::Url;

pub(super) use events::events;
use markdown::Markdown;
use tags::Tag;

use super::text::is_invisible;

/// Longest title, in characters.
const TITLE: usize = 300;
/// `main` counts as the page's text if it has as many bytes as this.
const ENOUGH: usize = 200;

/// The text of a page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Converted {
    /// Of `title`, else of the first `h1`.
    pub(super) title: Option<String>,
    pub(super) text: String,
    /// There is more than is kept, 4 MiB.
    pub(super) cut: bool,
}

/// Reads a page that is at `base`.
pub(super) fn text(html: &str, base: &Url) -> Converted {
    let mut reader = Reader::new(base.clone());
    events(html.as_bytes(), |event| reader.read(event).then_some(()));
    reader.finish()
}

/// The text of a piece of HTML that is nothing but an entity: `&amp;`.
pub(super) fn unescape(entity: &str) -> Option<String> {
    let mut out = None;
    events(entity.as_bytes(), |event| -> Option<()> {
        if let CallbackEvent::String { value } = event {
            out = std::str::from_utf8(value).ok().map(str::to_owned);
        }
        None
    });
    out
}

/// What is being left out, with everything inside.
struct Skipped {
    tag: Vec<u8>,
    /// How many of these are open.
    depth: usize,
}

struct Reader {
    base: Url,
    rebased: bool,
    out: Markdown,
    skipped: Option<Skipped>,
    /// The start tag that is being read; its name is empty for one that is not known.
    tag: Tag,
    name: Vec<u8>,
    attribute: Vec<u8>,
    href: Option<String>,
    alt: Option<String>,
    hidden: bool,
    in_title: bool,
    title: Option<String>,
    heading: Option<String>,
    in_h1: bool,
    /// Where the text of the first `main` begins and ends.
    main: Option<(usize, Option<usize>)>,
}

impl Reader {
    fn new(base: Url) -> Self {
        Self {
            base,
            rebased: false,
            out: Markdown::default(),
            skipped: None,
            tag: Tag::Other,
            name: Vec::new(),
            attribute: Vec::new(),
            href: None,
            alt: None,
            hidden: false,
            in_title: false,
            title: None,
            heading: None,
            in_h1: false,
            main: None,
        }
    }

    /// True: it is enough.
    fn read(&mut self, event: &CallbackEvent<'_>) -> bool {
        match *event {
            CallbackEvent::OpenStartTag { name } => {
                self.tag = Tag::of(name);
                self.name.clear();
                self.name.extend_from_slice(name.get(..32).unwrap_or(name));
                self.attribute.clear();
                (self.href, self.alt, self.hidden) = (None, None, false);
            }
            CallbackEvent::AttributeName { name } => {
                self.attribute.clear();
                self.attribute.extend_from_slice(name.get(..16).unwrap_or(name));
                self.hidden |= name == b"hidden";
            }
            CallbackEvent::AttributeValue { value } => self.value(value),
            CallbackEvent::CloseStartTag { self_closing } => self.open(self_closing),
            CallbackEvent::EndTag { name } => self.close(name),
            CallbackEvent::String { value } => self.string(value),
            _ => {}
        }
        self.out.is_full()
    }

    /// Only the first of an attribute counts.
    fn value(&mut self, value: &[u8]) {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        match (&*self.attribute, self.tag) {
            (b"href", Tag::Link | Tag::Base) if self.href.is_none() && value.len() <= super::MAX_URL => {
                self.href = text();
            }
            (b"alt", Tag::Image) if self.alt.is_none() && value.len() <= 1000 => self.alt = text(),
            (b"aria-hidden", _) => self.hidden |= value == b"true",
            (b"hidden", _) if value == b"until-found" => self.hidden = false,
            _ => {}
        }
        self.attribute.clear();
    }

    fn open(&mut self, self_closing: bool) {
        if let Some(skipped) = &mut self.skipped {
            if skipped.tag == self.name && !(self_closing && self.tag.is_foreign()) {
                skipped.depth += 1;
            }
            return;
        }
        let hidden = self.hidden && self.tag.always_ends();
        if self.tag.is_left_out() || hidden {
            if !(self_closing && self.tag.is_foreign()) {
                self.skipped = Some(Skipped { tag: self.name.clone(), depth: 1 });
            }
            return;
        }
        match self.tag {
            Tag::Title => self.in_title = self.title.is_none(),
            // Only the first counts.
            Tag::Base if !self.rebased => {
                if let Some(base) = self.href.take().and_then(|href| self.base.join(&href).ok()) {
                    self.base = base;
                    self.rebased = true;
                }
            }
            Tag::Link => {
                let href = self.href.take().and_then(|href| self.target(&href));
                self.out.open_link(href);
            }
            Tag::Image => {
                if let Some(alt) = self.alt.take() {
                    self.out.image(&alt);
                }
            }
            Tag::Main if self.main.is_none() => {
                self.out.open(Tag::Main);
                self.main = Some((self.out.len(), None));
            }
            tag => {
                self.in_h1 |= tag == Tag::Heading(1) && self.heading.is_none();
                self.out.open(tag);
            }
        }
    }

    /// Where a link leads, if that is another page.
    fn target(&self, href: &str) -> Option<String> {
        if href.trim_start().starts_with('#') {
            return None;
        }
        let url = self.base.join(href).ok()?;
        let fits =
            matches!(url.scheme(), "http" | "https" | "mailto") && url.as_str().len() <= super::MAX_URL;
        // Round brackets would end it.
        fits.then(|| url.as_str().replace('(', "%28").replace(')', "%29"))
    }

    fn close(&mut self, name: &[u8]) {
        if let Some(skipped) = &mut self.skipped {
            if skipped.tag == name.get(..32).unwrap_or(name) {
                skipped.depth -= 1;
                if skipped.depth == 0 {
                    self.skipped = None;
                }
            }
            return;
        }
        match Tag::of(name) {
            Tag::Title => self.in_title = false,
            Tag::Link => self.out.close_link(),
            tag => {
                self.out.close(tag);
                self.in_h1 &= tag != Tag::Heading(1);
                if tag == Tag::Main
                    && let Some((_, end @ None)) = &mut self.main
                {
                    *end = Some(self.out.len());
                }
            }
        }
    }

    fn string(&mut self, value: &[u8]) {
        if self.skipped.is_some() {
            return;
        }
        let value = String::from_utf8_lossy(value);
        if self.in_title {
            self.title = one_line(&value, TITLE);
            return;
        }
        if self.in_h1 && self.heading.is_none() {
            self.heading = one_line(&value, TITLE);
        }
        self.out.text(&value);
    }

    fn finish(mut self) -> Converted {
        self.out.close_link();
        let cut = self.out.is_full();
        let mut text = self.out.into_text();
        if let Some((begin, end)) = self.main {
            let main = text.get(begin..end.unwrap_or(text.len())).map(str::trim);
            if let Some(main) = main.filter(|main| main.len() >= ENOUGH) {
                text = main.to_owned();
            }
        }
        Converted { title: self.title.or(self.heading), text, cut }
    }
}

/// On one line and not longer than `most` characters; none: nothing is left.
pub(super) fn one_line(text: &str, most: usize) -> Option<String> {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|c| !c.is_control() && !is_invisible(*c)));
        if out.len() > 4 * most {
            break;
        }
    }
    let out: String = out.trim().chars().take(most).collect();
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests;
