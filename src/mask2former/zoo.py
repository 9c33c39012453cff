"""Find a model by the name a person gives: a path, a bundled name, or a Hub id."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from mask2former.checkpoint import CONFIG_FILE, WEIGHTS_FILE


def bundled_models() -> dict[str, Path]:
    """The models inside the package, by name."""
    root = Path(str(resources.files("mask2former"))) / "models"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{CONFIG_FILE}"))}


def find_model(name: str) -> Path:
    """The folder of a model: a path that exists, else a bundled name, else a Hub id.

    A file inside a model folder stands for its folder. Raises ValueError where nothing fits.
    """
    path = Path(name)
    if path.exists():
        return path if path.is_dir() else path.parent
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    if name.count("/") == 1:
        return _download(name)
    known = ", ".join(bundled) or "none"
    raise ValueError(
        f"no model '{name}': it is no existing path, no bundled model ({known}) and no Hub id "
        "(owner/name)"
    )


def _download(hub_id: str) -> Path:
    """Fetch a model folder from the Hub, or take it from the cache."""
    try:
        folder = snapshot_download(hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"no model '{hub_id}': no such path, and the Hub did not give it ({reason})"
        ) from None
    return Path(folder)
