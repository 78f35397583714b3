# Copyright (c) 2026, the legionio.ollama authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# PRIVATE to this collection: no promise of stability outside it.
"""The errors of the broker, and of requests to workers.

They have three families: invalid settings, which no retry mends; failures of the broker; and requests without an
answer. The codes of the third family are those of LegionIO's own requesters (lex-ollama wire protocol, error codes of
kind "dispatch").
"""

from __future__ import annotations

from .._ollama.errors import CollectionError


class FleetError(CollectionError):
    """Every error of this package."""

    code = "fleet_error"


# Invalid settings


class InvalidLaneError(FleetError):
    """A lane cannot be made: its queue name is too long or empty, or an option does not fit its style."""

    code = "invalid_lane"


class LaneCollisionError(FleetError):
    """Two lanes would share one queue."""

    code = "lane_collision"


class InvalidBrokerError(FleetError):
    """The address, the credentials or the TLS files of the broker cannot be used as given."""

    code = "invalid_broker"


class InvalidQuestionError(FleetError):
    """A question cannot become a request: it is too large or incomplete, or the dialect does not support it."""

    code = "invalid_request"


# Broker failures


class BrokerError(FleetError):
    """The broker could not be used."""

    code = "broker_error"


class BrokerUnreachableError(BrokerError):
    """No connection was established, or it broke: refused, no route, unknown host, timeout."""

    code = "broker_unreachable"


class BrokerTlsError(BrokerError):
    """The TLS handshake failed: unknown authority, wrong name, certificate refused."""

    code = "broker_tls"


class BrokerLoginRefusedError(BrokerError):
    """The broker does not accept the user name, password or certificate."""

    code = "broker_login_refused"


class BrokerVhostError(BrokerError):
    """The virtual host does not exist, or the user may not enter it."""

    code = "broker_vhost"


class BrokerForbiddenError(BrokerError):
    """The user lacks a permission on a queue or an exchange."""

    code = "broker_forbidden"


class ExchangeMissingError(BrokerError):
    """An exchange does not exist. The set-up of the broker makes exchanges, never a worker or a requester."""

    code = "exchange_missing"


class LaneMismatchError(BrokerError):
    """A queue with the lane's name exists with other arguments."""

    code = "lane_mismatch"


# Requests without an answer


class NoFleetQueueError(FleetError):
    """No queue takes the request: the broker returned it, or has no queue of that name."""

    code = "no_fleet_queue"


class FleetBackpressureError(FleetError):
    """The queue is full and refused the request."""

    code = "fleet_backpressure"


class FleetPublishTimeoutError(FleetError):
    """The broker did not confirm the request in time, and may still have taken it."""

    code = "fleet_publish_timeout"


class FleetTimeoutError(FleetError):
    """No answer came in time."""

    code = "fleet_timeout"


class FleetAnswerError(FleetError):
    """A worker answered with an error; ``details["fleet_code"]`` is its code, ``details["retriable"]`` its advice."""

    code = "fleet_answer"


class UnreadableAnswerError(FleetError):
    """The answer is not in the dialect of the request."""

    code = "unreadable_answer"
