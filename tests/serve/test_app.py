"""The server gives what the predictor gives, refuses in one sentence, and takes turns."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import HTTPException
from fastapi.testclient import TestClient
from PIL import Image

from mask2former import __version__, rle
from mask2former.engine.predict import Predictor, load
from mask2former.saving.maps import number_map
from mask2former.serve import uploads
from mask2former.serve.app import create_app
from mask2former.structures import Instances

STREET = Path(str(resources.files("mask2former"))) / "demo" / "street" / "street.png"


@pytest.fixture(scope="module")
def street() -> Predictor:
    """The bundled model, which does all tasks, looking at small pictures."""
    return load("street", "cpu").with_settings("test.short_edge=128", "test.max_size=192")


@pytest.fixture(scope="module")
def town(street: Predictor) -> TestClient:
    return TestClient(create_app(street, "street"))


def pixels_of(response: Any) -> np.ndarray:
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(BytesIO(response.content)))


def send(client: TestClient, path: Path, query: str = "") -> Any:
    return client.post(f"/predict?{query}", files={"picture": (path.name, path.read_bytes())})


def png(height: int, width: int) -> bytes:
    """The bytes of a PNG that tells a size and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_instances_are_the_predictors(
    client: TestClient, predictor: Predictor, picture: Path
) -> None:
    expected = predictor(picture)
    found = send(client, picture, "masks=rle").json()
    assert (found["height"], found["width"]) == expected.image.shape[:2] == (70, 50)
    assert (found["task"], found["threshold"]) == ("instance", 0.0)
    coco = [entry for entry in expected.to_coco() if rle.area(entry["segmentation"])]
    assert coco
    assert [region["segmentation"] for region in found["regions"]] == [
        entry["segmentation"] for entry in coco
    ]
    for region, entry in zip(found["regions"], coco, strict=True):
        assert region["score"] == entry["score"]
        assert region["category_id"] == entry["category_id"]
        assert region["area"] == rle.area(entry["segmentation"])
        assert tuple(region["bbox"]) == rle.box(entry["segmentation"])
        assert region["class"] in predictor.categories.names


def test_raw_body_is_answered_as_a_form_is(client: TestClient, picture: Path) -> None:
    raw = client.post("/predict", content=picture.read_bytes())
    assert raw.status_code == 200
    assert raw.json() == send(client, picture).json()
    assert raw.headers["server-timing"].startswith("read;dur=")


def test_panoptic_segments_and_ids_are_the_predictors(town: TestClient, street: Predictor) -> None:
    expected = street(STREET, task="panoptic")
    found = send(town, STREET, "task=panoptic").json()
    told = [(region["id"], region["score"], region["area"]) for region in found["regions"]]
    assert told == [(segment.id, segment.score, segment.area) for segment in expected.segments]
    ids = pixels_of(send(town, STREET, "task=panoptic&format=ids"))
    assert np.array_equal(ids, expected.ids)


def test_semantic_areas_and_labels_are_the_predictors(town: TestClient, street: Predictor) -> None:
    expected = street(STREET, task="semantic")
    found = send(town, STREET, "task=semantic&masks=none").json()
    names = {region["class"]: region["area"] for region in found["regions"]}
    labels, areas = np.unique(expected.labels, return_counts=True)
    assert names == dict(
        zip([street.categories[k].name for k in labels], areas.tolist(), strict=True)
    )
    assert not any("segmentation" in region for region in found["regions"])
    labels = pixels_of(send(town, STREET, "task=semantic&format=labels"))
    assert np.array_equal(labels, expected.labels)


def test_threshold_leaves_out_what_the_predictor_leaves_out(
    town: TestClient, street: Predictor
) -> None:
    found = send(town, STREET, "task=instance&threshold=0.3").json()["regions"]
    assert len(found) == len(street(STREET, task="instance", threshold=0.3))
    usual = send(town, STREET, "task=instance").json()
    assert usual["threshold"] == street.card.config.test.show_threshold


def test_other_forms_are_the_results_own(
    client: TestClient, predictor: Predictor, picture: Path
) -> None:
    result = predictor(picture)
    assert isinstance(result.plain, Instances)
    drawn = pixels_of(send(client, picture, "format=overlay"))
    assert np.array_equal(drawn, np.asarray(result.draw()))
    ids = pixels_of(send(client, picture, "format=ids"))
    assert np.array_equal(ids, number_map(result.plain))
    geojson = send(client, picture, "format=geojson")
    assert geojson.headers["content-type"] == "application/geo+json"
    assert geojson.json()["features"] == result.to_geojson()["features"]
    assert geojson.json()["picture"]["file"] == "turned.jpg"
    assert send(client, picture, "format=labelme").json()["shapes"] == result.to_labelme()["shapes"]


def test_polygons_are_the_usual_masks(client: TestClient, picture: Path) -> None:
    for region in send(client, picture).json()["regions"]:
        masks = rle.from_annotation(region["segmentation"], 70, 50)
        assert rle.area(masks) >= region["area"]  # holes are filled


def test_model_tells_what_it_is(client: TestClient, predictor: Predictor) -> None:
    said = client.get("/model").json()
    assert said == client.get("/").json()
    assert (said["name"], said["task"], said["version"]) == ("tiny", "instance", __version__)
    assert said["licence"] == "none, it is a test"
    assert [entry["name"] for entry in said["classes"]] == predictor.categories.names
    assert said["classes"][0]["color"] == list(predictor.categories[0].color)
    assert client.get("/health").json()["status"] == "ok"
    assert "/predict" in client.get("/openapi.json").json()["paths"]
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("task=depth", "task='depth': Input should be 'semantic', 'instance' or 'panoptic'"),
        ("threshold=2", "threshold='2': Input should be less than or equal to 1"),
        ("threshold=nan", "threshold='nan': Input should be a finite number"),
        ("threshold=high", "threshold='high': Input should be a valid number"),
        ("format=bmp", "format='bmp': Input should be 'json', 'overlay',"),
        ("treshold=0.5", "no parameter 'treshold'; did you mean 'threshold'?"),
        ("x=1", "no parameter 'x'; there are task, threshold, format, masks"),
        ("format=labels", "format=labels cannot hold instance results; choose json, overlay, ids"),
        ("task=semantic&format=ids", "format=ids cannot hold semantic results; choose json"),
        ("task=semantic&threshold=0.5", "threshold: a semantic map gives every pixel a class"),
        ("masks=rle&format=ids", "masks is for format=json, not ids; leave it out"),
    ],
)
def test_wrong_parameter_is_one_sentence(
    query: str, sentence: str, client: TestClient, picture: Path
) -> None:
    response = send(client, picture, query)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(sentence)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "picture: is empty; send a picture"),
        (b"no picture at all", 415, "picture: is not a picture"),
        (b"II*\0 and no TIFF", 415, "picture: is not a picture of 8-bit RGB"),
        (png(20, 20), 400, "picture: the picture cannot be read (image file is truncated"),
        (png(101, 100), 413, "picture: 100 x 101 pixels are more than the 0.01 million that"),
        (png(99_999, 99_999), 413, "picture: 99999 x 99999 pixels are more than can be read"),
        (b"\0" * 1_100_000, 413, "the picture has more than 1 MB; send a smaller one"),
    ],
    ids=["empty", "text", "tiff", "broken", "large", "huge", "long"],
)
def test_wrong_body_is_one_sentence(
    body: bytes, status: int, sentence: str, client: TestClient
) -> None:
    response = client.post("/predict", content=body)
    assert (response.status_code, response.json()["detail"][: len(sentence)]) == (status, sentence)
    form = client.post("/predict", files={"picture": ("mine.png", body)})
    assert form.status_code == status
    assert "/tmp" not in form.json()["detail"]


def test_long_body_without_a_length_is_cut_off(client: TestClient) -> None:
    response = client.post("/predict", content=(b"\0" * 100_000 for _ in range(20)))
    assert response.status_code == 413


def test_wrong_forms_are_one_sentence(client: TestClient, picture: Path) -> None:
    none = client.post("/predict", files={"remark": (None, "no file")})
    assert (none.status_code, none.json()["detail"][:22]) == (400, "the form holds no file")
    two = client.post("/predict", files=[("a", picture.read_bytes()), ("b", b"")])
    assert two.status_code == 400
    kind = {"content-type": "multipart/form-data"}
    assert client.post("/predict", content=b"x", headers=kind).status_code == 400


def test_slow_sender_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.01)

    async def receive() -> None:
        async with uploads.in_time():
            await asyncio.sleep(30)

    with pytest.raises(HTTPException, match="did not arrive within") as error:
        asyncio.run(receive())
    assert error.value.status_code == 408


def test_picture_of_many_channels_is_read_as_predict_reads_it(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    predictor = load(tiny(4), "cpu")
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    client = TestClient(create_app(predictor))
    found = send(client, tmp_path / "noise.npy", "masks=rle").json()
    expected = [e["segmentation"] for e in predictor(tmp_path / "noise.npy").to_coco()]
    assert {str(region["segmentation"]) for region in found["regions"]} <= set(map(str, expected))
    assert (found["height"], found["width"]) == (40, 60)
    assert client.get("/model").json()["channels"] == 4


class Gate:
    """Stands before a predictor, and counts who is inside."""

    def __init__(self, predictor: Predictor) -> None:
        self.answer_then, self.open = predictor.answer, threading.Event()
        self.inside = self.most = 0

    def answer(self, *arguments: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.open.wait(30)
        self.inside -= 1
        return self.answer_then(*arguments)


def test_one_at_a_time_others_wait_and_more_are_sent_away(
    predictor: Predictor, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, gate = create_app(predictor, waiting=1), Gate(predictor)
    monkeypatch.setattr(predictor, "answer", gate.answer)
    with TestClient(app) as client, ThreadPoolExecutor(2) as pool:
        try:
            asked = [pool.submit(send, client, picture) for _ in range(2)]
            await_health(client, waiting=1)  # is answered while the network is busy
            refused = send(client, picture)
        finally:
            gate.open.set()
        answers = [future.result(30) for future in asked]
        assert refused.status_code == 503
        assert refused.json()["detail"] == "too many pictures wait; send it again later"
        assert int(refused.headers["retry-after"]) >= 1
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert gate.most == 1
        assert client.get("/health").json() == {"status": "ok", "waiting": 0, "done": 2}
        assert send(client, picture).status_code == 200


def await_health(client: TestClient, waiting: int) -> None:
    until = time.monotonic() + 30
    while client.get("/health").json()["waiting"] != waiting:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_nobody_is_answered_who_went_away_while_waiting(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, gate = create_app(predictor), Gate(predictor)
    monkeypatch.setattr(predictor, "answer", gate.answer)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    door = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    try:
        first, second, third = (post_noise(door.getsockname()) for _ in range(3))
        until = time.monotonic() + 30
        while app.state.turns.waiting < 2 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)  # till all that was sent has been read
        second.close()
        time.sleep(0.2)
        gate.open.set()
        for connection in (first, third):
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            connection.close()
        assert (app.state.turns.done, app.state.turns.inside) == (2, 0)
    finally:
        gate.open.set()
        server.should_exit = True
        thread.join(30)


def post_noise(address: tuple[str, int]) -> socket.socket:
    """Send a picture longer than what servers read at once, and do not wait."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    head = f"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: {file.tell()}\r\n\r\n"
    connection = socket.create_connection(address)
    connection.sendall(head.encode() + file.getvalue())
    return connection


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (ValueError("the network's output is not a number"), 500, "the network's output is not"),
        (MemoryError(), 503, "the memory is full; send a smaller picture"),
        (KeyError("a bug"), 500, "the server failed; its log says where"),
    ],
)
def test_failure_is_answered_and_the_next_picture_too(
    error: Exception,
    status: int,
    sentence: str,
    predictor: Predictor,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = TestClient(create_app(predictor), raise_server_exceptions=False)

    def fail(*arguments: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "answer", fail)
        response = send(client, picture)
    assert response.status_code == status
    assert response.json()["detail"].startswith(sentence)
    assert send(client, picture).status_code == 200


def test_model_that_cannot_predict_is_refused_at_the_start(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise ValueError("takes clips of 2 frames")

    monkeypatch.setattr(predictor, "answer", fail)
    with pytest.raises(ValueError, match="takes clips of 2 frames"):
        create_app(predictor)
