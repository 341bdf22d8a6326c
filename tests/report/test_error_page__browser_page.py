import re

from pii_kit.report import error_page as browser_page


def test_the_frame_loads_nothing_from_elsewhere():
    text = "\n".join(value for value in vars(browser_page).values() if isinstance(value, str))
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//|@import|url\(", text)
    assert "fetch(" not in text and "XMLHttpRequest" not in text
