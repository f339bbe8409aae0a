"""Which media policy preparers obey: those that read media have a `policy`, those that read text have none.

Enters: preparers.  Leaves: the policy of one, or of all; or all of them with another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sensorium.core.protocols import Preparer
from sensorium.data.preparation import fingerprint_of
from sensorium.media.policy import DECODING, MediaPolicy


def policy_of(preparer: Preparer) -> MediaPolicy | None:
    """Return what a preparer may open; None for one that opens nothing."""
    policy: MediaPolicy | None = getattr(preparer, "policy", None)  # third parties' preparers may read text alone
    return policy


def policy_of_all(preparers: Iterable[Preparer]) -> MediaPolicy:
    """Return what the preparers of one model may open; the default where none opens anything."""
    return next(filter(None, map(policy_of, preparers)), MediaPolicy())


def kept_under(preparer: Preparer) -> str:
    """Name what a preparer makes of media that it may open: tensors made under other caps are not asked for.

    So a medium that a cap refuses today is refused, though it was prepared under a wider one.  Granted folders are
    no part of the name, since equal content may lie in several; how this build decodes is.
    """
    policy = policy_of(preparer)
    if policy is None:
        return preparer.fingerprint
    caps = policy.model_dump(mode="json", exclude={"roots"})
    return f"{preparer.fingerprint}-{fingerprint_of('caps', decoding=DECODING, **caps)}"


def obey(preparers: Iterable[Preparer], policy: MediaPolicy) -> None:
    """Let all that read media obey `policy`."""
    for preparer in preparers:
        reader: Any = preparer
        if policy_of(preparer) is not None:
            reader.policy = policy
