"""The server: what the model is, whether it is well, and what it says of a picture."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from mask2former import __version__
from mask2former.config import Task
from mask2former.config.recipes import nearest
from mask2former.engine.predict import Predictor
from mask2former.faults import excerpt, explain, is_out_of_memory
from mask2former.serve.answers import FORMS, Wish, classes, settle
from mask2former.serve.turns import FullError, GoneError, Turns
from mask2former.serve.uploads import Upload, read_picture, received

MAX_PIXELS = 50_000_000
WAITING = 8
GONE = 499
"""The status, which nobody reads, for who went away; no standard has one."""
FIRST = (64, 64)
"""The size of the picture that is predicted first: it has all libraries loaded."""
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"picture": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "what was found",
        "content": {form.media: {} for form in FORMS.values()},
    },
    400: {"description": "the picture is empty or broken"},
    408: {"description": "the picture did not arrive in time"},
    413: {"description": "the picture has too many pixels or bytes"},
    415: {"description": "the body is not a picture"},
    422: {"description": "a parameter is wrong, or does not go with another"},
    503: {"description": "too many wait; Retry-After says for how many seconds"},
}


class Service:
    """The endpoints of one model."""

    def __init__(
        self, predictor: Predictor, name: str, task: Task, turns: Turns, max_pixels: int
    ) -> None:
        self.predictor = predictor
        self.name = name
        self.task = task
        self.turns = turns
        self.max_pixels = max_pixels

    async def model(self) -> dict[str, Any]:
        """What is served: its task, classes, settings and licence."""
        return {
            "name": self.name,
            "task": self.task,
            "licence": self.predictor.card.licence,
            "version": __version__,
            "device": str(self.predictor.device),
            "channels": self.predictor.channels or 3,
            "max_pixels": self.max_pixels,
            "settings": self.predictor.card.config.test.model_dump(mode="json", exclude={"task"}),
            "classes": classes(self.predictor.categories),
        }

    async def health(self) -> dict[str, Any]:
        """Answers while pictures are predicted, too."""
        return {"status": "ok", "waiting": self.turns.waiting, "done": self.turns.done}

    async def predict(self, request: Request, wish: Annotated[Wish, Query()]) -> Response:
        """Segment a picture: the file of a form, or the whole body."""
        wish = settle(wish, self.task, self.predictor.card.config.test)
        with self.turns.place():
            async with received(request, self.max_pixels) as upload:
                return await self.turns.work(
                    lambda: self.answer(upload, wish), unless=request.is_disconnected
                )

    def answer(self, upload: Upload, wish: Wish) -> Response:
        """What the model says of a picture."""
        times = [time.perf_counter()]
        pixels = read_picture(upload, self.predictor, self.max_pixels)
        times.append(time.perf_counter())
        result = self.predictor.answer(pixels, upload.name, wish.task, wish.threshold)
        times.append(time.perf_counter())
        form = FORMS[wish.format]
        content = form.write(result, wish)
        times.append(time.perf_counter())
        steps = zip(("read", "predict", "write"), times[1:], times, strict=False)
        told = ", ".join(f"{step};dur={1000 * (end - start):.1f}" for step, end, start in steps)
        return Response(content, media_type=form.media, headers={"Server-Timing": told})

    def try_out(self) -> None:
        """Predict a black picture; whatever keeps the model from it is known at the start."""
        black = np.zeros((*FIRST, self.predictor.channels or 3), np.uint8)
        self.predictor.answer(black, "black", self.task, None)


def create_app(
    predictor: Predictor,
    name: str = "model",
    *,
    task: Task | None = None,
    waiting: int = WAITING,
    max_pixels: int = MAX_PIXELS,
) -> FastAPI:
    """An application that segments pictures, one at a time; `waiting` others may wait.

    `task` is what it predicts when nobody says; by default the task that the model was made for.
    Pictures of more than `max_pixels` are refused.
    """
    turns = Turns(waiting)
    service = Service(predictor, name, task or predictor.task, turns, max_pixels)
    turns.work_now(service.try_out)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        yield
        turns.end()

    app = FastAPI(
        title=f"mask2former: {name}", version=__version__, lifespan=lifespan, redoc_url=None
    )
    app.state.turns = turns
    app.get("/", include_in_schema=False)(service.model)
    app.get("/model")(service.model)
    app.get("/health")(service.health)
    app.post("/predict", response_class=Response, responses=ANSWERS, openapi_extra=BODY)(
        service.predict
    )
    app.exception_handler(RequestValidationError)(wrong_parameter)
    app.exception_handler(FullError)(no_place)
    for left in (ClientDisconnect, GoneError):
        app.exception_handler(left)(gone)
    app.exception_handler(Exception)(failed)
    return app


async def wrong_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
    """One sentence about the first parameter that is wrong."""
    first = error.errors()[0]
    key, known = str(first["loc"][-1]), list(Wish.model_fields)
    if first["type"] == "extra_forbidden":
        hint = nearest(key, known) or f"; there are {', '.join(known)}"
        sentence = f"no parameter '{key}'{hint}"
    else:
        sentence = f"{key}={excerpt(first['input'])}: {first['msg']}"
    return refusal(422, sentence)


async def no_place(request: Request, error: FullError) -> JSONResponse:
    """Too many wait."""
    answer = refusal(503, "too many pictures wait; send it again later")
    answer.headers["Retry-After"] = str(error.seconds)
    return answer


async def gone(request: Request, error: Exception) -> Response:
    """Who sent the picture went away."""
    return Response(status_code=GONE)


async def failed(request: Request, error: Exception) -> JSONResponse:
    """What a person can mend in a sentence; the traceback goes to the log."""
    if is_out_of_memory(error):
        return refusal(503, "the memory is full; send a smaller picture")
    return refusal(500, explain(error) or "the server failed; its log says where")


def refusal(status: int, sentence: str) -> JSONResponse:
    """An answer as FastAPI's own refusals are."""
    return JSONResponse({"detail": sentence}, status)
