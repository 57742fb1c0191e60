from typing import Any

NETWORKS: dict[str, dict[str, Any]]
