"""Times as Kubernetes writes them. Nothing here asks what time it is: `now` is always passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def parse(text: str) -> datetime:
    """A time of the API server or of a container, RFC 3339."""
    return datetime.fromisoformat(text)


def render(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as metav1.Time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def human(span: timedelta) -> str:
    """A duration as kubectl prints ages: 4s, 3m20s, 2h5m, 3d4h."""
    total = max(0, int(span.total_seconds()))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        minutes, rest = divmod(total, 60)
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if total < 86400:
        hours, rest = divmod(total // 60, 60)
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    days, rest = divmod(total // 3600, 24)
    return f"{days}d{rest}h" if rest else f"{days}d"
