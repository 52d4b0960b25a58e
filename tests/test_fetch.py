"""Downloads from a small server on loopback that errs, cuts, limits and lies."""

import csv
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from films import film, picture

import settings
import sources
import utils
from fetch import faceforensics, unsplash
from fetch.web import Web, WebError
from flags import Prepare
from flags.fetching import Connection
from utils import UserError

KEY = "the-secret-key"
QUICK = ["--pause=0.001", "--timeout=5"]


# ------------------------------------------------------------------------------ the server


@dataclass
class Reply:
    """An answer. cut: bytes of the body after which the connection breaks; ranged: understands
    Range; length: says how long the body is."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    ranged: bool = False
    length: bool = True


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


class Server:
    """Answers by path: each reply once, the last one always; every request is written down."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: list[Asked] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def on(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append(Asked(parts.path, query, dict(request.headers)))
        queue = self.replies.get(parts.path, [Reply(b"nothing here", 404)])
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        body, status, extra = reply.body, reply.status, dict(reply.headers)
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") in (extra.get("ETag"), extra.get("Last-Modified"))
        if reply.ranged and wanted and same:
            start = int(wanted[1])
            extra["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        request.send_response(status)
        for name, value in ({"Content-Type": reply.kind} | extra).items():
            request.send_header(name, value)
        if reply.length:
            request.send_header("Content-Length", str(len(body)))
        if not reply.length or reply.cut is not None:
            request.send_header("Connection", "close")
            request.close_connection = True
        request.end_headers()
        request.wfile.write(body if reply.cut is None else body[: reply.cut])


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


# -------------------------------------------------------------------------------- Unsplash


@pytest.fixture
def links(tmp_path: Path) -> Path:
    return tmp_path / "photos" / "links.csv"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", KEY)


def photo(server: Server, name: str) -> dict:
    """What the API says of a photo; its picture is served."""
    server.on(f"/pictures/{name}", Reply(picture() + name.encode(), kind="image/jpeg"))
    server.on(f"/told/{name}", Reply(b"{}", headers={"X-Ratelimit-Remaining": "40"}))
    return {
        "id": name,
        "description": f"a face, {name}",
        "urls": {"regular": f"{server.url}/pictures/{name}?w=1080"},
        "links": {
            "html": f"https://unsplash.com/photos/{name}",
            "download_location": f"{server.url}/told/{name}?ixid=abc",
        },
        "user": {"name": "Ann, B.", "links": {"html": "https://unsplash.com/@ann"}},
    }


def page(server: Server, *names: str, left: str = "40") -> Reply:
    results = {"total_pages": 9, "results": [photo(server, name) for name in names]}
    return Reply(json.dumps(results).encode(), headers={"X-Ratelimit-Remaining": left})


def search(server: Server, links: Path, *more: str) -> int:
    given = ["search", "--query=face", f"--out={links}", f"--api={server.url}", *QUICK]
    return unsplash.main([*given, *more])


def download(server: Server, links: Path, *more: str) -> int:
    return unsplash.main(["download", str(links), f"--api={server.url}", *QUICK, *more])


def table(links: Path) -> list[dict[str, str]]:
    with links.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ids(links: Path) -> list[str]:
    return [row["id"] for row in table(links)]


def test_search_writes_who_took_what(server, links, capsys):
    server.on("/search/photos", page(server, "a1", "-b2"), page(server, "c3", "a1"))
    assert search(server, links, "--pages=2") == 0
    assert ids(links) == ["a1", "-b2", "c3"]
    row = table(links)[0]
    assert (row["photographer"], row["photographer_page"]) == (
        "Ann, B.",
        "https://unsplash.com/@ann",
    )
    assert "Unsplash License" in row["licence"] and row["description"] == "a face, a1"
    assert row["url"] == f"{server.url}/pictures/a1?w=1080" and row["page"] == "1"
    first, second = server.asked
    assert first.query == {"query": "face", "page": "1", "per_page": "30"}
    assert second.query["page"] == "2"
    assert first.headers["Authorization"] == f"Client-ID {KEY}"
    assert KEY not in links.read_text() + "".join(capsys.readouterr())


def test_search_goes_on_after_the_last_page(server, links):
    server.on("/search/photos", page(server, "a"), page(server, "b"), page(server, "c"))
    search(server, links, "--pages=2")
    assert search(server, links, "--pages=3") == 0
    assert [asked.query["page"] for asked in server.asked] == ["1", "2", "3"]
    assert ids(links) == ["a", "b", "c"]
    server.on("/search/photos", page(server, "d"))
    search(server, links, "--query=portrait")
    assert [row["query"] for row in table(links)] == ["face"] * 3 + ["portrait"]


def test_search_ends_where_the_results_end(server, links, capsys):
    server.on("/search/photos", page(server, "a"), page(server))
    assert search(server, links, "--pages=7") == 0
    assert len(server.asked) == 2 and "no page 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "trouble",
    [Reply(status=500), Reply(status=503), Reply(b"x" * 99, cut=10), Reply(b"x", cut=0)],
    ids=["500", "503", "cut", "nothing"],
)
def test_troubles_that_pass_are_tried_again(server, links, trouble):
    server.on("/search/photos", trouble, trouble, page(server, "a"))
    assert search(server, links) == 0 and ids(links) == ["a"]


def test_troubles_that_last_keep_what_was_found(server, links):
    server.on("/search/photos", page(server, "a"), Reply(status=502))
    with pytest.raises(UserError, match=r"page 2 of 'face': the server answers 502 \(3 times\)"):
        search(server, links, "--pages=2", "--retries=2")
    assert ids(links) == ["a"]
    with pytest.raises(UserError, match="ConnectError"):
        search(server, links, "--api=http://127.0.0.1:9", "--page=8", "--retries=1")


def test_an_hour_that_is_used_up_stops_the_search(server, links):
    server.on("/search/photos", page(server, "a", left="0"))
    with pytest.raises(UserError, match="hour's requests are used up"):
        search(server, links, "--pages=3")
    assert len(server.asked) == 1 and ids(links) == ["a"]


LIMITS = [
    Reply(b"Rate Limit Exceeded", 403, "text/plain"),
    Reply(b"", 403, headers={"X-Ratelimit-Remaining": "0"}),
    Reply(b"", 429),
]


@pytest.mark.parametrize("limit", LIMITS, ids=["text", "remaining", "429"])
def test_a_limit_is_waited_for_where_that_is_set(server, links, capsys, limit):
    server.on("/search/photos", limit, page(server, "a", left="0"), page(server, "b"))
    assert search(server, links, "--pages=2", "--on_limit=wait", "--wait=0.01") == 0
    assert ids(links) == ["a", "b"] and len(server.asked) == 3
    assert capsys.readouterr().out.count("used up: waiting") == 2
    server.on("/search/photos", limit)
    with pytest.raises(UserError, match="used up"):
        search(server, links, "--page=3")
    with pytest.raises(UserError, match="refuses after 3 pauses"):
        search(server, links, "--page=3", "--on_limit=wait", "--wait=0.01")


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_is_said_but_not_shown(server, links, status):
    server.on("/search/photos", Reply(b'{"errors": ["OAuth error"]}', status))
    with pytest.raises(UserError) as error:
        search(server, links)
    assert "UNSPLASH_ACCESS_KEY" in str(error.value) and KEY not in str(error.value)
    assert len(server.asked) == 1 and not links.exists()


@pytest.mark.parametrize("key", ["", "  ", "two words", "ключ", "a\nb"])
def test_a_key_that_cannot_be_one_is_refused_unseen(server, links, monkeypatch, key):
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", key)
    with pytest.raises(UserError, match=r"unsplash\.com/developers") as error:
        search(server, links)
    assert not key.strip() or key not in str(error.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"[1]"), "no JSON object"),
        (Reply(b"<html>"), "no JSON object"),
        (Reply(b'{"results": [{"id": "a"}]}'), "in another way than known"),
        (Reply(b'{"results": [7]}'), "in another way than known"),
        (Reply(status=404), "Unsplash answers 404"),
    ],
)
def test_other_answers_are_said(server, links, reply, message):
    server.on("/search/photos", reply)
    with pytest.raises(UserError, match=message):
        search(server, links)


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".", "a b"])
def test_an_id_that_is_no_bare_name_is_refused(server, links, name):
    results = {"results": [photo(server, "a") | {"id": name}]}
    server.on("/search/photos", Reply(json.dumps(results).encode()))
    with pytest.raises(UserError, match="which is none"):
        search(server, links)


def test_texts_of_strangers_are_no_formulas(server, links):
    strange = photo(server, "a") | {"description": "=1+1\r\nnext, line"}
    strange["user"] = {"name": "@ann", "links": {"html": "x"}}
    server.on("/search/photos", Reply(json.dumps({"results": [strange]}).encode()))
    search(server, links)
    row = table(links)[0]
    assert (row["description"], row["photographer"]) == ("'=1+1 next, line", "'@ann")


@pytest.fixture
def found(server: Server, links: Path) -> Path:
    """A CSV of four links."""
    server.on("/search/photos", page(server, "a", "b", "c", "-d"))
    search(server, links)
    server.asked.clear()
    return links


def test_download_writes_photos_and_their_hashes(server, found, capsys):
    assert download(server, found) == 0
    for row in table(found):
        file = found.parent / row["file"]
        assert file.read_bytes() == picture() + row["id"].encode()
        assert row["sha256"] == utils.sha256_file(file)
    files = {"a.jpg", "b.jpg", "c.jpg", "-d.jpg", "links.csv", "left_out.csv"}
    assert {f.name for f in found.parent.iterdir()} == files
    assert "4 of 4" in capsys.readouterr().out
    for asked in server.asked:  # the API gets the key and is told of each download
        told = asked.path.startswith("/told/")
        assert told == ("Authorization" in asked.headers)
        assert not told or asked.query == {"ixid": "abc"}
    names = ("a", "b", "c", "-d")
    assert sorted(server.paths()) == sorted(
        f"/{w}/{n}" for w in ("told", "pictures") for n in names
    )


def test_what_was_downloaded_is_read_as_a_source(server, found):
    download(server, found)
    media = sources.find("unsplash").index(str(found.parent), settings.load(Prepare))
    assert sorted(media["identity"]) == ["-d", "a", "b", "c"]
    assert media.attrs["left_out"] == [] and media.attrs["notes"] == []


def test_download_skips_what_is_there_and_whole(server, found):
    download(server, found)
    server.asked.clear()
    assert download(server, found) == 0 and server.asked == []
    (found.parent / "b.jpg").write_bytes(b"damaged")
    (found.parent / "c.jpg").unlink()
    assert download(server, found) == 0
    assert sorted(server.paths()) == ["/pictures/b", "/pictures/c", "/told/b", "/told/c"]
    assert (found.parent / "b.jpg").read_bytes() == picture() + b"b"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(b"<html>no</html>", kind="text/html"), "sent text/html"),
        (Reply(b"x", status=404), "the server answers 404"),
        (Reply(b"", kind="image/jpeg"), "empty"),
        (Reply(b"x" * 5000, kind="image/jpeg"), "larger than 4,000 bytes"),
        (Reply(b"x", kind="image/jpeg", length=False), "does not say how long"),
        (Reply(b"x" * 9, kind="image/jpeg", cut=3), r"RemoteProtocolError.*\(2 times\)"),
        (Reply(status=500), r"the server answers 500 \(2 times\)"),
    ],
    ids=["type", "404", "empty", "large", "no length", "cut", "500"],
)
def test_a_photo_that_does_not_come_is_named_and_the_others_do(server, found, reply, reason):
    server.on("/pictures/b", reply)
    assert download(server, found, "--max_bytes=4000", "--retries=1") == 1
    listed = pd.read_csv(found.parent / "left_out.csv")
    assert len(listed) == 1 and listed["kind"][0] == "missing"
    assert re.search(f"b: .*{reason}", listed["reason"][0])
    assert {row["id"]: bool(row["sha256"]) for row in table(found)} == {
        "a": True, "b": False, "c": True, "-d": True,
    }  # fmt: skip
    assert not (found.parent / "b.jpg").exists()
    server.on("/pictures/b", Reply(picture(), kind="image/png; charset=x"))
    assert download(server, found) == 0 and (found.parent / "b.png").exists()


def test_a_photo_that_is_cut_is_asked_for_again(server, found):
    whole = Reply(picture(), kind="image/jpeg")
    server.on("/pictures/a", Reply(picture(), kind="image/jpeg", cut=100), Reply(status=500), whole)
    assert download(server, found) == 0
    assert (found.parent / "a.jpg").read_bytes() == picture()


def test_the_limit_stops_a_download_that_is_gone_on_with(server, found):
    none = Reply(b"{}", headers={"X-Ratelimit-Remaining": "0"})
    server.on("/told/b", none)
    with pytest.raises(UserError, match="used up"):
        download(server, found, "--workers=1")
    assert [row["id"] for row in table(found) if row["sha256"]] == ["a", "b"]
    server.on("/told/b", Reply(b"{}"))
    assert download(server, found) == 0
    assert all(row["sha256"] for row in table(found))


def test_ctrl_c_keeps_what_was_done(server, found, monkeypatch):
    whole = unsplash._photo

    def interrupted(api, link, out, most):
        if link["id"] == "c":
            raise KeyboardInterrupt
        return whole(api, link, out, most)

    monkeypatch.setattr(unsplash, "_photo", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download(server, found, "--workers=1")
    assert [row["id"] for row in table(found) if row["sha256"]][:2] == ["a", "b"]


def test_a_limit_within_a_download_is_waited_for(server, found):
    server.on("/told/b", *LIMITS, Reply(b"{}"))
    server.on("/told/c", Reply(b"{}", headers={"X-Ratelimit-Remaining": "0"}))
    assert download(server, found, "--on_limit=wait", "--wait=0.01") == 0
    assert all(row["sha256"] for row in table(found))


def test_the_key_goes_to_the_api_alone(server, found):
    other = Server()
    other.on("/told/a", Reply(b"{}"))
    text = found.read_text().replace(f"{server.url}/told/a", f"{other.url}/told/a")
    found.write_text(text)
    moved = Reply(b"", 302, headers={"Location": f"{other.url}/told/a"})
    server.on("/told/b", moved)
    assert download(server, found) == 1
    listed = pd.read_csv(found.parent / "left_out.csv")
    assert "127.0.0.1 is not the API" in listed["reason"][0] and len(listed) == 1
    assert other.paths() == ["/told/a"]  # where the redirect led
    assert all("Authorization" not in asked.headers for asked in other.asked)
    other.http.shutdown()
    other.http.server_close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,url\na,b\n", "has no column photographer"),
        ("", "has no column id"),
        (b"\xff\xfe", "not a CSV"),
        (",".join(unsplash.COLUMNS) + "\na,b\n", "row 2: not as many cells"),
        (",".join(unsplash.COLUMNS) + "\n../a" + "," * 11 + "\n", "row 2: '../a' is no id"),
        (",".join(unsplash.COLUMNS) + "\na" + "," * 10 + "../b,\n", "row 2: '../b' is no bare"),
    ],
)
def test_a_csv_that_search_did_not_write_is_refused(server, links, text, message):
    links.parent.mkdir()
    links.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=re.escape(message)):
        download(server, links)
    with pytest.raises(UserError, match=re.escape(message)):
        search(server, links)
    assert server.asked == []


def test_commands_without_what_they_need_say_it(links, capsys):
    assert unsplash.main([]) == 2 and unsplash.main(["--help"]) == 0
    assert "python -m fetch.unsplash search" in capsys.readouterr().out
    with pytest.raises(UserError, match="which CSV"):
        unsplash.main(["download"])
    with pytest.raises(UserError, match="No such file"):
        unsplash.main(["download", str(links)])
    with pytest.raises(SystemExit) as ended:
        unsplash.main(["download", "--help"])
    assert ended.value.code == 0 and "--workers" in capsys.readouterr().out


# --------------------------------------------------------------------------- FaceForensics++

PAIRS = [["071", "054"], ["087", "081"]]
TAG = {"ETag": '"1"'}
CLIP = "/v3/original_sequences/youtube/c23/videos/071.mp4"


@pytest.fixture
def clips(server: Server) -> dict[str, bytes]:
    """The server's clips by their path."""
    server.on("/v3/misc/filelist.json", Reply(json.dumps(PAIRS).encode()))
    names = {f"original_sequences/youtube/c23/videos/{n}.mp4" for pair in PAIRS for n in pair}
    for a, b in PAIRS:
        names |= {
            f"manipulated_sequences/FaceSwap/c23/videos/{x}.mp4" for x in (f"{a}_{b}", f"{b}_{a}")
        }
    bodies = {f"/v3/{name}": film(".mp4") + name.encode() for name in sorted(names)}
    for path, body in bodies.items():
        server.on(path, Reply(body, kind="video/mp4", headers=TAG, ranged=True))
    return bodies


def fetch(server: Server, out: Path, *more: str) -> int:
    return faceforensics.main([f"--server={server.url}/v3/", f"--out={out}", *QUICK, *more])


def test_a_page_in_the_place_of_a_clip_is_no_clip(server, clips, tmp_path):
    assert fetch(server, tmp_path, "--videos=1") == 0
    (file,) = tmp_path.rglob("*.mp4")
    name = file.relative_to(tmp_path).as_posix()
    file.unlink()
    server.on(f"/v3/{name}", Reply(b"<html>agree to the terms</html>", kind="text/html"))
    fetch(server, tmp_path, "--videos=1")
    assert not file.exists() and "text/html" in (tmp_path / "left_out.csv").read_text()


def test_the_first_clips_of_a_method_lie_as_the_source_reads_them(server, clips, tmp_path, capsys):
    assert fetch(server, tmp_path, "--videos=3") == 0
    assert fetch(server, tmp_path, "--method=FaceSwap", "--videos=3") == 0
    for name in ("071_054", "054_071", "087_081"):
        file = tmp_path / f"manipulated_sequences/FaceSwap/c23/videos/{name}.mp4"
        assert file.read_bytes() == clips[f"/v3/{file.relative_to(tmp_path).as_posix()}"]
    media = sources.find("faceforensics").index(str(tmp_path), settings.load(Prepare))
    assert len(media) == 6 and media.attrs["left_out"] == []
    assert not list(tmp_path.rglob(".*"))
    assert "3 of 3, 3 of them new" in capsys.readouterr().out
    server.asked.clear()
    assert fetch(server, tmp_path, "--videos=3") == 0
    assert server.paths() == ["/v3/misc/filelist.json"]


def test_dfds_clips_have_a_list_of_their_own(server, tmp_path):
    names = {"actors": ["01__kitchen_pan"], "DeepFakesDetection": ["01_02__kitchen_pan__YVGY8LOK"]}
    server.on("/v3/misc/deepfake_detection_filenames.json", Reply(json.dumps(names).encode()))
    for place in ("original_sequences/actors", "manipulated_sequences/DeepFakeDetection"):
        name = names["actors" if "actors" in place else "DeepFakesDetection"][0]
        server.on(f"/v3/{place}/raw/videos/{name}.mp4", Reply(film(".mp4"), kind="video/mp4"))
    for method in ("actors", "DeepFakeDetection"):
        assert fetch(server, tmp_path, f"--method={method}", "--quality=raw") == 0
    config = settings.load(Prepare, "", {"dfd.quality": ["raw"]})
    assert len(sources.find("dfd").index(str(tmp_path), config)) == 2


def ranges(server: Server) -> list[str]:
    return [asked.headers.get("Range", "") for asked in server.asked if asked.path == CLIP]


def test_a_cut_clip_goes_on_where_it_was(server, clips, tmp_path):
    body = clips[CLIP]
    whole = Reply(body, headers=TAG, ranged=True)
    cut = Reply(body, headers=TAG, ranged=True, cut=500)
    server.on(CLIP, cut, cut, Reply(status=503), whole)
    assert fetch(server, tmp_path, "--videos=1") == 0
    assert ranges(server) == ["", "bytes=500-", "bytes=1000-", "bytes=1000-"]
    assert (tmp_path / CLIP[4:]).read_bytes() == body


def test_a_piece_is_not_taken_for_the_rest(server, clips, tmp_path):
    body = clips[CLIP]
    piece = TAG | {"Content-Range": f"bytes 500-999/{len(body)}"}
    server.on(
        CLIP,
        Reply(body, headers=TAG, cut=500),
        Reply(body[500:1000], 206, headers=piece),
        Reply(body, headers=TAG, ranged=True),
    )
    assert fetch(server, tmp_path, "--videos=1") == 0
    assert ranges(server) == ["", "bytes=500-", "bytes=1000-"]
    assert (tmp_path / CLIP[4:]).read_bytes() == body


def test_a_later_call_goes_on_too_unless_the_clip_is_another(server, clips, tmp_path):
    body = clips[CLIP]
    for tag, asked in (('"1"', "bytes=500-"), ('"2"', "bytes=500-")):
        server.on(CLIP, Reply(body, headers=TAG, ranged=True, cut=500))
        assert fetch(server, tmp_path, "--videos=1", "--retries=0") == 1
        assert not (tmp_path / CLIP[4:]).exists()
        server.asked.clear()
        later = body if tag == '"1"' else body[::-1]
        server.on(CLIP, Reply(later, headers={"ETag": tag}, ranged=True))
        assert fetch(server, tmp_path, "--videos=1") == 0
        assert ranges(server) == [asked]
        assert (tmp_path / CLIP[4:]).read_bytes() == later
        (tmp_path / CLIP[4:]).unlink()


@pytest.mark.parametrize(
    "again",
    [
        [Reply(ranged=False, headers=TAG)],
        [Reply(status=416, headers=TAG), Reply(headers=TAG)],
        [Reply(status=206, headers=TAG | {"Content-Range": "bytes 7-9/10"}), Reply(headers=TAG)],
        [Reply(status=206, headers=TAG | {"Content-Range": "nonsense"}), Reply(headers=TAG)],
    ],
    ids=["no ranges", "416", "other range", "nonsense"],
)
def test_where_the_server_cannot_go_on_it_starts_again(server, clips, tmp_path, again):
    body = clips[CLIP]
    for reply in again:
        reply.body = body if reply.status == 200 else b"xyz"
    server.on(CLIP, Reply(body, headers=TAG, cut=500), *again)
    assert fetch(server, tmp_path, "--videos=1") == 0
    assert (tmp_path / CLIP[4:]).read_bytes() == body


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"1"'}], ids=["none", "weak"])
def test_without_a_mark_of_the_clip_nothing_is_pieced_together(server, clips, tmp_path, headers):
    body = clips[CLIP]
    server.on(CLIP, Reply(body, headers=headers, cut=500), Reply(body, headers=headers))
    assert fetch(server, tmp_path, "--videos=1") == 0
    assert ranges(server) == ["", ""] and (tmp_path / CLIP[4:]).read_bytes() == body


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=404), "the server answers 404"),
        (Reply(b"x", length=False), "does not say how long"),
        (Reply(b"x" * 900, cut=400), r"\(2 times\)"),
    ],
    ids=["404", "no length", "cut"],
)
def test_a_clip_that_does_not_come_is_named_and_the_others_do(
    server, clips, tmp_path, reply, reason
):
    server.on(CLIP, reply)
    assert fetch(server, tmp_path, "--retries=1") == 1
    listed = pd.read_csv(tmp_path / "left_out.csv")
    assert listed["path"].tolist() == [CLIP[4:]] and re.search(reason, listed["reason"][0])
    there = {f.name for f in tmp_path.rglob("*.mp4")}
    assert there == {"054.mp4", "087.mp4", "081.mp4"}


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(status=404), "does --server end in the release's folder"),
        (Reply(b"<html>"), "does --server end"),
        (Reply(b"[1, 2]"), "does --server end"),
        (Reply(b'[["../../x", "y"]]'), "found ['../../x"),
        (Reply(b'[["a/b", "c"]]'), "looked for names of clips"),
        (Reply(b"[]"), "looked for names of clips"),
    ],
)
def test_a_list_of_clips_that_is_none_is_said(server, tmp_path, reply, message):
    server.on("/v3/misc/filelist.json", reply)
    with pytest.raises(UserError, match=re.escape(message)):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", [[], ["--server=EU"], ["--server=file:///etc"]])
def test_no_server_is_known_here(given, tmp_path):
    with pytest.raises(UserError, match="--server is missing"):
        faceforensics.main([*given, f"--out={tmp_path}"])


def test_other_addresses_and_endless_redirects_are_refused(server, tmp_path):
    web = Web(Connection(retries=3, pause=0.0))
    for url in ("ftp://127.0.0.1/a", "file:///etc/passwd", "nonsense", "http://[::1", ""):
        with pytest.raises(WebError):
            web.get(url)
    server.on("/round", Reply(status=302, headers={"Location": "/round"}))
    with pytest.raises(WebError, match="redirects"):
        web.get(f"{server.url}/round")


def test_a_server_that_asks_for_patience_gets_it(server, monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    busy = [Reply(status=429, headers={"Retry-After": after}) for after in ("7", "9999", "soon")]
    server.on("/a", *busy, Reply(b"1"))
    assert Web(Connection(retries=3, pause=1.0)).get(f"{server.url}/a").content == b"1"
    assert [pause for pause in pauses if pause >= 1] == [7, 60, 4]
