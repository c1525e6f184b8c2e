use proptest::prelude::*;

use super::markdown::MOST;
use super::*;

fn read(html: &str) -> Converted {
    text(html, &Url::parse("https://example.com/docs/page").unwrap())
}

#[test]
fn a_page() {
    let page = read(
        r##"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>Guide &amp; more
   | Example</title>
        <style>p { color: red }</style><script>if (a < b) document.write("<p>no</p>")</script></head>
        <body><h1>The <em>Guide</em></h1>
        <p>Some <b>bold</b> text with a <a href="/a(b)?x=1&amp;y=2">link to <i>there</i></a>, and
        <code>let x = 1;</code>.<br>Next line.
        <p>Second<span hidden>secret</span> paragraph&hellip; <a href="#top">up</a> <a href="javascript:x()">js</a>
        <ul><li>one<li>two<ol start=3><li>a</li><li><p>b</p></li></ol></li><li></ul>
        <pre><code>fn main() {
    if a &lt; b {}
}</code></pre>
        <table><thead><tr><th>Name<th>Size</thead><tbody><tr><td>a</td><td>1&nbsp;kB</td></tr><tr><td>b<td>2</tbody></table>
        <blockquote><p>To be<p>or not</blockquote>
        <dl><dt>Term<dd>What it is</dl><hr>
        <img src=x.png alt="A cat"><img src=y.png alt=""><svg><title>icon</title><text>no</text></svg>
        <noscript>Switch on JavaScript</noscript><iframe src=x>no</iframe><div>End</div></body></html>"##,
    );
    assert_eq!(page.title.as_deref(), Some("Guide & more | Example"));
    assert!(!page.cut);
    assert_eq!(
        page.text,
        "# The Guide

Some bold text with a [link to there](https://example.com/a%28b%29?x=1&y=2), and `let x = 1;`.
Next line.

Second paragraph… up js

- one
- two
  1. a
  2. b

```
fn main() {
    if a < b {}
}
```

Name | Size
a | 1 kB
b | 2

> To be

> or not

Term
: What it is

---

![A cat]
End"
    );
}

#[test]
fn titles() {
    for (html, title) in [
        ("<title>a</title><title>b</title>", Some("a")),
        ("<title> \n </title><h1>b <i>c</i></h1>", Some("b")),
        ("<svg><title>icon</title></svg><h1>x</h1><h1>y</h1>", Some("x")),
        ("<title>a", Some("a")),
        ("<p>x", None),
        ("", None),
    ] {
        assert_eq!(read(html).title.as_deref(), title, "{html}");
    }
    assert_eq!(read(&format!("<title>{}</title>", "é".repeat(5000))).title.unwrap().chars().count(), TITLE);
}

#[test]
fn the_main_part_stands_for_the_page() {
    let long = "word ".repeat(100);
    let page = read(&format!("<nav>menu</nav><main><h1>T</h1><p>{long}</p></main><footer>foot</footer>"));
    assert_eq!(page.text, format!("# T\n\n{}", long.trim()));
    // One that has next to nothing does not.
    assert_eq!(read("<nav>menu</nav><main>x</main><footer>foot</footer>").text, "menu\n\nx\n\nfoot");
    // Nor does its end have to be written.
    assert_eq!(read(&format!("<nav>menu</nav><main>{long}")).text, long.trim());
    // A second one is no more than a part of the page.
    let two = read(&format!("<main>{long}</main><main>{long}</main>"));
    assert_eq!(two.text, long.trim());
}

#[test]
fn links_are_whole() {
    for (html, want) in [
        ("<a href=/x>a</a>", "[a](https://example.com/x)"),
        ("<a href=x><p>a</p><p>b</p></a>", "[a b](https://example.com/docs/x)"),
        ("<base href=https://other.example/y/><a href=x>a</a>", "[a](https://other.example/y/x)"),
        ("<a href=x>a<a href=y>b</a>", "[a](https://example.com/docs/x)[b](https://example.com/docs/y)"),
        ("<a href=x>a", "[a](https://example.com/docs/x)"),
        ("<a href=x></a>b", "b"),
        ("<a href=x> </a>b", "b"),
        ("a <a href=x> b </a> c", "a [b](https://example.com/docs/x) c"),
        ("<a href=x><img alt=pic></a>", "[![pic]](https://example.com/docs/x)"),
        ("<a href=data:x>a</a>", "a"),
        ("<a href='java\nscript:x'>a</a>", "a"),
        ("<a href=mailto:a@b.example>a</a>", "[a](mailto:a@b.example)"),
        ("<a href='http://[x'>a</a>", "a"),
        ("<a name=x>a</a>", "a"),
        ("</a></a>a", "a"),
    ] {
        assert_eq!(read(html).text, want, "{html}");
    }
    let long = format!("<a href=/{}>a</a>", "x".repeat(5000));
    assert_eq!(read(&long).text, "a");
}

#[test]
fn what_is_not_shown_is_left_out() {
    for (html, want) in [
        ("<div hidden>a<div>b</div>c</div>d", "d"),
        ("<div aria-hidden=true>a</div>b", "b"),
        ("<div aria-hidden=false>a</div>b", "a\nb"),
        ("<p hidden>a<p>b", "a\n\nb"),
        ("<body hidden>a", "a"),
        ("<script>a</script>b<style>c</style>", "b"),
        ("<script>a", ""),
        ("<!-- a --><!DOCTYPE x><?y?>b", "b"),
        ("<template>a<template>b</template>c</template>d", "d"),
        ("<svg/>a<svg><svg/><g>b</g></svg>c", "ac"),
        ("<select><option>a<option>b</select>c", "c"),
        ("<textarea><b>a</b></textarea>b", "b"),
        ("a\u{200b}\u{202e}\u{e0041}\0b", "ab"),
        ("<noscript><p>a</p></noscript>b", "b"),
        ("<iframe srcdoc='<p>a'>b</iframe>c", "c"),
    ] {
        assert_eq!(read(html).text, want, "{html}");
    }
}

/// Pages that are made to stop, overflow or fill up whoever reads them. A reader whose work grew
/// faster than the page would be at it for hours.
#[test]
fn hostile_pages() {
    const DEEP: usize = 100_000;
    const N: usize = 20_000;
    let attributes: String = (0..DEEP).map(|i| format!("a{i}=\"v{i}\" ")).collect::<Vec<_>>().concat();
    for (name, html) in [
        ("nested", "<div>".repeat(DEEP)),
        ("nested and closed", "<div>".repeat(DEEP) + &"</div>".repeat(DEEP)),
        ("nested inline", "<b>x".repeat(DEEP)),
        ("links", "<a href=x>y".repeat(N)),
        ("formatting", "<a href=x><b><p>".repeat(N)),
        ("fonts in paragraphs", "<font><p>".repeat(N)),
        ("tables in cells", "<table><tr><td>x".repeat(DEEP)),
        ("lists in items", "<ul><li>x".repeat(DEEP)),
        ("quotes", "<blockquote>x".repeat(DEEP)),
        ("closed quotes", "</blockquote></ul></pre></code></a>x".repeat(N)),
        ("pre", "<pre>x".repeat(N)),
        ("code", "<code>x<p>".repeat(N)),
        ("foreign", "<svg><math>".repeat(N)),
        ("templates", "<template>".repeat(N)),
        ("forms", "<form><div></form>".repeat(N)),
        ("attributes", format!("<p {attributes}>x")),
        ("one attribute", format!("<p title=\"{}\">x", "y".repeat(10 << 20))),
        ("the same attribute", format!("<a {}>x", "href=x ".repeat(N))),
        ("an unfinished tag", format!("<p {}", "x".repeat(1 << 20))),
        ("a tag's name", format!("<{}>x", "x".repeat(1 << 20))),
        ("entities", "&amp;&#0;&#x110000;&notit;".repeat(N)),
        ("unfinished entities", "&amp".repeat(N) + &"&".repeat(N) + &"&#x".repeat(N)),
        ("an unfinished comment", "<!--".to_owned() + &"-".repeat(1 << 20)),
        ("comments", "<!-- --".repeat(N)),
        ("unfinished CDATA", "<svg><![CDATA[".repeat(N)),
        ("brackets", "<".repeat(1 << 20)),
        ("slashes", "</".repeat(1 << 20)),
        ("unfinished script", "<script><!--<script>".repeat(N)),
        ("ends in script", "<script>".to_owned() + &"</scrip".repeat(N)),
        ("a column span", "<table><tr><td colspan=4294967295 rowspan=4294967295>x</table>".repeat(1000)),
        ("numbers", "<ol start=99999999999999999999><li value=-9223372036854775808>x</ol>".repeat(1000)),
        ("rules", "<hr>".repeat(N)),
        ("breaks", "<br>".repeat(N)),
        ("NUL", "\0".repeat(1 << 20)),
        ("combining", "a\u{301}".repeat(1 << 19)),
        ("titles", "<title>x</title>".repeat(N)),
        ("mains", "<main>x</main>".repeat(N)),
        ("bases", "<base href=x/><a href=y>z</a>".repeat(N)),
    ] {
        let page = read(&html);
        assert!(page.text.len() <= MOST + 4096, "{name}: {}", page.text.len());
    }
    for html in ["word ".repeat(2 << 20), "<ol>".repeat(N) + "<pre>" + &"x\n".repeat(2 << 20)] {
        let page = read(&html);
        assert!(page.cut && page.text.len() <= MOST + 64, "{}", page.text.len());
    }
}

proptest! {
    /// Whatever stands there, it is read; what is text stays.
    #[test]
    fn any_page(html in "(<[a-z/!]{0,10}[ =\"'>]?|</?(a|p|ul|ol|li|pre|code|table|tr|td|main|div|svg|b|title|script|br|h1)( href=[^>]{0,9}| hidden)?>|[a-z &;é模\n]{0,9}){0,60}") {
        let page = read(&html);
        prop_assert!(page.text.len() <= 40 * html.len() + 64);
        prop_assert_eq!(page.text.trim_end(), &page.text);
    }

    #[test]
    fn words_are_kept(words in prop::collection::vec("[a-z]{1,8}", 1..40)) {
        let tags = ["<p>", "<div>", "<li>", "<td>", "<b>", "</p>", " ", "<br>", "<h2>", "<code> </code>"];
        let html = words.iter().enumerate().map(|(i, w)| format!("{} {w} ", tags[i % tags.len()]));
        let html = html.collect::<Vec<_>>().concat();
        let text = read(&html).text;
        let kept: Vec<String> = text.split(|c: char| !c.is_ascii_lowercase()).filter(|w| !w.is_empty()).map(str::to_owned).collect();
        prop_assert_eq!(kept, words);
    }
}
