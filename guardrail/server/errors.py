"""What a client is told when something is wrong, in OpenAI's shape. Nothing of a model's text is in it."""

from __future__ import annotations

from typing import Any

from guardrail.errors import DataError, DeadlineError, GuardrailError, MissingExtraError, ModelError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
    504: "timeout_error",
}
"""OpenAI's word for a kind of error, by status; any other is an `invalid_request_error`."""


class ApiError(GuardrailError):
    """A request that is answered with an error.

    Args:
        status: Of HTTP.
        code: What went wrong, for programs.
        message: The same for people.
        param: The field that it is about.
        retry_after: Seconds after which another try may succeed.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` where another try may succeed; a missed deadline asks clients not to try by themselves."""
        out = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 504:
            out["X-Should-Retry"] = "false"
        if self.status == 401:
            out["WWW-Authenticate"] = "Bearer"
        return out


def internal_error(request_id: str) -> ApiError:
    """For whatever nobody foresaw: an exception may hold a model's text, so nothing of it is told."""
    return ApiError(500, "internal_error", f"something went wrong here; the request id is {request_id}")


def told(error: Exception, request_id: str) -> ApiError:
    """What a client is told of an exception. Those of its own request, raised before any model work, in their own words."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, DeadlineError):
        return ApiError(504, "deadline_exceeded", str(error))
    if isinstance(error, DataError | ModelError | MissingExtraError):
        return ApiError(400, "invalid_value", str(error))
    return internal_error(request_id)
