"""GetTreeHead, GetInclusionProof and GetConsistencyProof."""

from __future__ import annotations

from collections.abc import Sequence

from kagitori_server.model.errors import ValidationException
from kagitori_server.operations.administration.ports import FoundInclusion
from kagitori_server.operations.context import Context
from kagitori_server.operations.shapes import transparency as shapes


def get_tree_head(context: Context, request: shapes.GetTreeHeadRequest) -> shapes.GetTreeHeadResponse:
    """Signs the head of a tree as it is now (C2SP tlog-checkpoint)."""
    head = context.services.administration.transparency.head(request.origin)
    return shapes.GetTreeHeadResponse(
        chain_name=head.chain, origin=head.origin, tree_size=head.size, root_hash=head.root,
        checkpoint=head.checkpoint, verifier_keys=tuple(head.verifier_keys),
    )


def get_inclusion_proof(
    context: Context, request: shapes.GetInclusionProofRequest
) -> shapes.GetInclusionProofResponse:
    """Proves that records are in a tree (RFC 9162 section 2.1.3). By ids it finds records of the account alone; by its
    number any record can be proven, without saying what it is: a hash tells nothing of a record, each of which has an
    id of 122 random bits."""
    log = context.services.administration.transparency
    named = [name for name in ("event_id", "request_id", "leaf_index") if getattr(request, name) is not None]
    if len(named) != 1:
        raise ValidationException("Exactly one of event_id, request_id and leaf_index is required.")
    proofs: Sequence[FoundInclusion]
    if request.leaf_index is not None:
        head, proof = log.inclusion_of_index(request.origin, request.leaf_index)
        proofs = (proof,)
    elif request.event_id is not None:
        head, proofs = log.inclusion_of(request.origin, context.account, "eventID", request.event_id)
    else:
        head, proofs = log.inclusion_of(request.origin, context.account, "requestID", request.request_id or "")
    return shapes.GetInclusionProofResponse(
        origin=head.origin, tree_size=head.size, root_hash=head.root, checkpoint=head.checkpoint,
        proofs=tuple(map(_inclusion, proofs)),
    )


def get_consistency_proof(
    context: Context, request: shapes.GetConsistencyProofRequest
) -> shapes.GetConsistencyProofResponse:
    """Proves that a tree is the beginning of another (RFC 9162 section 2.1.4)."""
    found = context.services.administration.transparency.consistency(
        request.origin, request.first_size, request.second_size
    )
    return shapes.GetConsistencyProofResponse(
        origin=found.origin, first_size=request.first_size, first_root_hash=found.first_root,
        second_size=found.second_size, second_root_hash=found.second_root, hashes=tuple(found.hashes),
    )


def _inclusion(proof: FoundInclusion) -> shapes.InclusionProof:
    return shapes.InclusionProof(
        leaf_index=proof.index, leaf_hash=proof.leaf, hashes=tuple(proof.hashes), proof=proof.proof
    )
