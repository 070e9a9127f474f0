"""Opens a page of clusters in Chromium, off line, and uses it: `check_clusters_page.py clusters.html [screenshot.png]`.

It drives the browser through the DevTools protocol, over a WebSocket of its own that knows just enough for that.
"""

import base64
import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
PATIENCE = 60  # seconds, for whatever the page is waited for


class WebSocket:
    """A connection on which texts are sent and received (RFC 6455)."""

    def __init__(self, host, port, path):
        self.connection = socket.create_connection((host, port), timeout=PATIENCE)
        self.received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.received:
            self.receive_more()
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        assert b" 101 " in head.splitlines()[0], head

    def receive_more(self):
        part = self.connection.recv(1 << 16)
        assert part, "the browser hung up"
        self.received += part

    def take(self, count):
        while len(self.received) < count:
            self.receive_more()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def send(self, text):
        payload, mask = text.encode(), os.urandom(4)
        if len(payload) < 126:
            length = struct.pack("!B", 0x80 | len(payload))
        elif len(payload) < 1 << 16:
            length = struct.pack("!BH", 0x80 | 126, len(payload))
        else:
            length = struct.pack("!BQ", 0x80 | 127, len(payload))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.connection.sendall(b"\x81" + length + mask + masked)

    def receive(self):
        text, last = b"", False
        while not last:
            first, length = self.take(2)
            last = bool(first & 0x80)
            if length == 126:
                length, = struct.unpack("!H", self.take(2))
            elif length == 127:
                length, = struct.unpack("!Q", self.take(8))
            part = self.take(length)
            if first & 0x0F in (0, 1):  # the rest of a text, or its beginning; not a ping
                text += part
            else:
                last = False
        return text.decode()


class Page:
    """One tab of the browser."""

    def __init__(self, web_socket):
        self.web_socket = web_socket
        self.sent = 0
        self.requests, self.complaints = [], []

    def command(self, method, **parameters):
        self.sent += 1
        self.web_socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.web_socket.receive())
            self.note(message)
            if message.get("id") == self.sent:
                assert "error" not in message, f"{method}: {message}"
                return message["result"]

    def note(self, message):
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"].get("exception", {}).get("description", parameters))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])

    def value(self, expression):
        result = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression}: {result}"
        return result["result"].get("value")

    def wait_for(self, expression):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            value = self.value(expression)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"waited in vain for {expression}; the page says {self.complaints}")

    def mouse(self, kind, place, **more):
        self.command("Input.dispatchMouseEvent", type=kind, x=place["x"], y=place["y"], **more)

    def click(self, place):
        self.mouse("mouseMoved", place)
        self.mouse("mousePressed", place, button="left", clickCount=1)
        self.mouse("mouseReleased", place, button="left", clickCount=1)

    def key(self, name):
        self.command("Input.dispatchKeyEvent", type="keyDown", key=name, code=name)
        self.command("Input.dispatchKeyEvent", type="keyUp", key=name, code=name)

    def screenshot(self, path):
        picture = self.command("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(picture))


def open_browser(profile):
    """The browser and a socket to its only tab."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program, f"none of {', '.join(BROWSERS)} is installed"
    browser = subprocess.Popen(
        [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1280,1000", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return browser, WebSocket(*tab_address(browser, Path(profile, "DevToolsActivePort")))
    except BaseException:
        browser.kill()
        raise


def tab_address(browser, port_file):
    """Host, port and path of the tab's socket, once the browser has written down its port."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert browser.poll() is None, f"the browser ended with {browser.returncode}"
        if port_file.exists() and port_file.read_text().strip():
            port = int(port_file.read_text().split()[0])
            for tab in tabs(port):
                if tab["type"] == "page":
                    return "127.0.0.1", port, "/" + tab["webSocketDebuggerUrl"].split("/", 3)[3]
        time.sleep(0.1)
    raise AssertionError("the browser does not come up")


def tabs(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/json/list")
    return json.load(connection.getresponse())


def check_drawing(page):
    colours = page.value("""(() => {
      const canvas = document.querySelector("#map canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const colours = new Map();
      let drawn = 0;
      for (let place = 0; place < pixels.length; place += 4) {
        if (pixels[place + 3] === 0) continue;
        drawn++;
        if (pixels[place + 3] < 200) continue;
        const colour = pixels.slice(place, place + 3).map((value) => value >> 5).join();
        colours.set(colour, (colours.get(colour) ?? 0) + 1);
      }
      return { drawn, colours: [...colours.values()].filter((count) => count > 20).length, width: canvas.width };
    })()""")
    assert colours["drawn"] > 100 and colours["colours"] >= 2, colours
    print(f"canvas: {colours['drawn']} pixels drawn in {colours['colours']} shades, {colours['width']} wide")


def check_hover(page):
    """Points at a dot that has a picture and that no other covers."""
    dot = page.value("""(() => {
      const { count, screen, hasPicture, topic } = window.gramMap;
      const all = Array.from({ length: count }, (_, index) => ({ index, ...screen(index) }));
      const alone = ({ index, x, y }) =>
        all.every((other) => other.index === index || Math.hypot(other.x - x, other.y - y) > 0.5);
      const box = document.querySelector("#map canvas").getBoundingClientRect();
      const bottom = Math.min(box.bottom, innerHeight);
      const inside = ({ x, y }) => x > box.left && x < box.right && y > box.top && y < bottom;
      const chosen = all.find((dot) => hasPicture(dot.index) && topic(dot.index) && inside(dot) && alone(dot));
      return chosen && { ...chosen, caption: window.gramMap.caption(chosen.index), topic: topic(chosen.index) };
    })()""")
    assert dot, "no dot with a picture stands alone"
    page.mouse("mouseMoved", dot)
    page.wait_for("!document.getElementById('dot-card').hidden")
    page.wait_for("[...document.querySelectorAll('#dot-card img')].every((image) => image.complete)")
    card = page.value("""(() => {
      const card = document.getElementById("dot-card");
      const image = card.querySelector("img");
      return { caption: card.querySelector(".caption").textContent, text: card.innerText,
               picture: image && [image.naturalWidth, image.naturalHeight] };
    })()""")
    assert card["caption"] == dot["caption"], (card, dot)
    assert card["picture"] and 0 < max(card["picture"]) <= 64, card
    lines = [line for line in card["text"].splitlines() if line]
    print(f"dot {dot['index']}: {lines}, a picture of {card['picture']} pixels")
    return dot


def check_click(page, dot):
    """Clicking the dot opens its topic: the domains stand beside each other, with pictures."""
    page.value("document.getElementById('topic').replaceChildren()")
    page.click(dot)
    opened = page.wait_for("""(() => {
      const topic = document.getElementById("topic");
      const domains = [...topic.querySelectorAll(".domain")].map((domain) => ({
        name: domain.querySelector("h4").textContent, top: domain.offsetTop, left: domain.offsetLeft,
        pictures: [...domain.querySelectorAll("img")].filter((image) => image.naturalWidth > 0).length }));
      const words = [...topic.querySelectorAll(".words li")].map((word) => word.textContent);
      return domains.length > 0 && domains.every((domain) => domain.pictures > 0) &&
             { heading: topic.querySelector("h3").innerText, words, domains };
    })()""")
    domains = opened["domains"]
    assert opened["heading"].startswith(dot["topic"]), (opened, dot)
    assert all(domain["top"] == domains[0]["top"] for domain in domains), domains
    assert len({domain["left"] for domain in domains}) == len(domains), domains
    assert opened["words"], opened
    print(f"topic: {opened['heading']}; words {opened['words'][:3]}; side by side: "
          + "; ".join(f"{domain['name']}, {domain['pictures']} pictures" for domain in domains))


def check_zoom(page):
    """The wheel magnifies around the pointer, a drag moves the map, a button shows all of it again."""
    first, last = "window.gramMap.screen(0)", "window.gramMap.screen(window.gramMap.count - 1)"
    apart = f"Math.hypot({first}.x - {last}.x, {first}.y - {last}.y)"
    before = page.value(apart)
    middle = page.value("""(() => { const box = document.querySelector("#map canvas").getBoundingClientRect();
      return { x: box.left + box.width / 2, y: box.top + box.height / 2 }; })()""")
    page.mouse("mouseWheel", middle, deltaX=0, deltaY=-500)
    page.wait_for(f"{apart} > 2 * {before}")
    magnified = page.value(apart) / before
    zoomed = page.value(first)
    page.mouse("mousePressed", middle, button="left", buttons=1, clickCount=1)
    for step in (20, 40, 60):
        page.mouse("mouseMoved", {"x": middle["x"] + step, "y": middle["y"]}, button="left", buttons=1)
    page.mouse("mouseReleased", {"x": middle["x"] + 60, "y": middle["y"]}, button="left")
    moved = page.wait_for(f"{first}.x - {zoomed['x']}")
    page.value("document.getElementById('whole').click()")
    page.wait_for(f"Math.abs({apart} - {before}) < 1")
    print(f"wheel: {magnified:.2f} times as large; drag: moved by {moved:.0f} pixels; and back to the whole map")


def check_search(page):
    """A word of a caption, typed into the box, finds pairs and topics."""
    word = page.value("""(() => { const words = window.gramMap.caption(0).match(/[\\p{L}]{3,}/gu);
      return words[words.length - 1]; })()""")
    page.value("document.getElementById('search').focus()")
    page.command("Input.insertText", text=word)
    found = page.wait_for("document.getElementById('found').textContent")
    listed = page.value("[...document.querySelectorAll('#topic-list button')].map((button) => button.innerText)")
    assert re.match(r"shown pairs: [1-9][0-9,]*, topics: [1-9]", found) and listed, (word, found, listed)
    page.value("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    check_drawing(page)
    print(f"search for {word!r}: {found}; listed {listed[:5]}")


def check_keyboard(page):
    """Arrow keys lead from dot to dot, Enter in the search box opens the first topic that was found."""
    page.value("document.getElementById('topic').replaceChildren()")
    page.key("Enter")
    opened = page.wait_for("document.querySelector('#topic h3')?.innerText")
    page.value("document.querySelector('#map canvas').focus()")
    captions = []
    for name in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.key(name)
        captions.append(page.wait_for("document.querySelector('#dot-card:not([hidden]) .caption')?.textContent"))
    print(f"keyboard: Enter opened {opened!r}, arrows went to {captions}")


def check(page, path, screenshot):
    for domain in ("Page", "Runtime", "Network", "Log"):
        page.command(f"{domain}.enable")
    page.command("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    page.command("Emulation.setDeviceMetricsOverride", width=1280, height=1000, deviceScaleFactor=1, mobile=False)
    page.command("Page.navigate", url=path.resolve().as_uri())
    page.wait_for("document.readyState === 'complete' && window.gramMap?.count")
    page.value("document.getElementById('map').scrollIntoView()")
    page.value("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {page.value('window.gramMap.count')} dots, "
          f"histogram of {page.value('document.querySelectorAll(`.bars rect`).length')} bars")
    check_drawing(page)
    dot = check_hover(page)
    if screenshot:
        page.screenshot(screenshot)
    check_click(page, dot)
    check_zoom(page)
    check_search(page)
    check_keyboard(page)
    outside = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    assert page.requests and not outside, outside
    assert not page.complaints, page.complaints
    print(f"requests: {sum(url.startswith('file:') for url in page.requests)} file, the rest inside it; no errors")


def main():
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser, web_socket = open_browser(profile)
        try:
            check(Page(web_socket), path, sys.argv[2] if len(sys.argv) > 2 else None)
        finally:
            browser.terminate()
            browser.wait(timeout=PATIENCE)


main()
