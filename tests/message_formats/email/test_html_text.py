"""Plain text from the HTML of mails."""

from __future__ import annotations

import pytest

from trunkline.message_formats.email.html_text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("just text", "just text\n"),
        ("<p>One</p><p>Two\n  lines</p>", "One\n\nTwo lines\n"),
        ("a<br>b<br/><br>c", "a\nb\n\nc\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("<ul><li>a<li>b</ul>c", "* a\n* b\n\nc\n"),
        ("<table><tr><td>a<td>b</tr><tr><th>c</th></tr></table>", "a b\nc\n"),
        ("x<blockquote>q<br>r</blockquote>y", "x\n\n> q\n> r\n\ny\n"),
        ("<blockquote>" * 20 + "deep", "> " * 10 + "deep\n"),
        ("</blockquote></pre>fine", "fine\n"),
        ('<a href="https://example.org/x">here</a>!', "here (https://example.org/x)!\n"),
        ("<a href='http://example.org'>example.org</a>", "example.org\n"),
        ("<a href=https://e.org/&amp;x>w</a>", "w (https://e.org/&x)\n"),
        ("<a href='mailto:a@b'>mail</a> <a name=x>anchor</a>", "mail anchor\n"),
        ("<a href='https://e.org'><img src=x></a>", ""),
        ("<a href='https://e.org'>a<br>b</a>", "a\nb (https://e.org)\n"),
        ('<img alt="a cat" src=x><img src=y>', "a cat\n"),
        ("<style>p {}</style><script>if (a < b) {}</script>x", "x\n"),
        ("<title>t</title><SCRIPT>never closed", ""),
        ("a<!-- <p>hidden</p> -->b<!doctype x><?xml y?>c</ z>d", "abcd\n"),
        ("a<!-- never closed", "a\n"),
        ("a<!", "a\n"),
        ("1 < 2 <3 &lt;b&gt; &amp;&nbsp;&euro;&#8364;&#x20AC;", "1 < 2 <3 <b> & €€€\n"),
        ("&#" + "9" * 5000 + "; &#xD800;", "\ufffd \ufffd\n"),
        ("<pre>a\n  b\r\nc</pre>d", "a\n  b\nc\n\nd\n"),
        ("<b title='>'>x</b>", "x\n"),
        ("<b title='>x</b>y", "xy\n"),
        ("a<b", "a\n"),
        ("<unknown>x</unknown>", "x\n"),
        ("<p></p><p> </p>", ""),
    ],
)
def test_conversion(html: str, text: str) -> None:
    assert html_to_text(html, 10_000) == text


def test_the_text_is_bounded() -> None:
    assert len(html_to_text("<p>ä" * 10_000, 1000).encode()) <= 1000
    assert len(html_to_text("<blockquote>" * 10 + "<br>" * 100_000, 1000)) <= 1000
    assert html_to_text("ä" * 10_000, 1000) == "ä" * 500
