"""The discovery document: what Google's client libraries build a client from."""

from __future__ import annotations

from typing import Any


def discovery_document(base: str) -> dict[str, Any]:
    """Return the document of a server at `base`, an address that ends with a slash."""
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "title": "DetoxLM's scorer, in the form of the Perspective Comment Analyzer API",
        "description": "Scores the toxicity of English comments with a scorer that runs here.",
        "protocol": "rest",
        "rootUrl": base,
        "baseUrl": base,
        "servicePath": "",
        "basePath": "",
        "batchPath": "batch",
        "parameters": _parameters(),
        "schemas": schemas(),
        "resources": {
            "comments": {
                "methods": {
                    "analyze": _method("analyze", "AnalyzeComment", "Scores a comment."),
                    "suggestscore": _method("suggestscore", "SuggestCommentScore", "Takes a score and keeps nothing."),
                }
            }
        },
    }


def _parameters() -> dict[str, Any]:
    texts = {
        "key": "The API key, where the server asks for one.",
        "quotaUser": "Read and not used.",
        "fields": "Read and not used: the whole answer comes.",
        "access_token": "Read and not used.",
        "oauth_token": "Read and not used.",
        "callback": "Read and not used.",
    }
    found: dict[str, Any] = {
        name: {"type": "string", "location": "query", "description": told} for name, told in texts.items()
    }
    found["alt"] = {"type": "string", "location": "query", "enum": ["json"], "default": "json"}
    found["prettyPrint"] = {"type": "boolean", "location": "query", "default": "true"}
    found["$.xgafv"] = {"type": "string", "location": "query", "enum": ["1", "2"]}
    return found


def _method(name: str, message: str, told: str) -> dict[str, Any]:
    return {
        "id": f"commentanalyzer.comments.{name}",
        "path": f"v1alpha1/comments:{name}",
        "flatPath": f"v1alpha1/comments:{name}",
        "httpMethod": "POST",
        "description": told,
        "parameters": {},
        "parameterOrder": [],
        "request": {"$ref": f"{message}Request"},
        "response": {"$ref": f"{message}Response"},
    }


def schemas() -> dict[str, Any]:
    """Return the messages of the protocol by name, in the discovery document's form of JSON Schema."""
    text, flag = {"type": "string"}, {"type": "boolean"}
    texts = {"type": "array", "items": text}
    entry, score = {"$ref": "TextEntry"}, {"$ref": "Score"}
    scores = {"type": "object", "additionalProperties": {"$ref": "AttributeScores"}}
    both = {
        "comment": entry,
        "context": {"$ref": "Context"},
        "languages": texts,
        "clientToken": text,
        "sessionId": text,
        "communityId": text,
    }
    shapes: dict[str, dict[str, Any]] = {
        "TextEntry": {"text": text, "type": text},
        "Context": {
            "entries": {"type": "array", "items": entry},
            "articleAndParentComment": {"$ref": "ArticleAndParentComment"},
        },
        "ArticleAndParentComment": {"article": entry, "parentComment": entry},
        "AttributeParameters": {"scoreType": text, "scoreThreshold": {"type": "number", "format": "float"}},
        "Score": {"value": {"type": "number", "format": "float"}, "type": text},
        "SpanScore": {
            "begin": {"type": "integer", "format": "int32"},
            "end": {"type": "integer", "format": "int32"},
            "score": score,
        },
        "AttributeScores": {
            "summaryScore": score,
            "spanScores": {"type": "array", "items": {"$ref": "SpanScore"}},
        },
        "AnalyzeCommentRequest": {
            **both,
            "requestedAttributes": {"type": "object", "additionalProperties": {"$ref": "AttributeParameters"}},
            "doNotStore": flag,
            "dropUnsupportedAttributes": flag,
            "spanAnnotations": flag,
        },
        "AnalyzeCommentResponse": {
            "attributeScores": scores,
            "languages": texts,
            "detectedLanguages": texts,
            "clientToken": text,
        },
        "SuggestCommentScoreRequest": {**both, "attributeScores": scores},
        "SuggestCommentScoreResponse": {"detectedLanguages": texts, "requestedLanguages": texts, "clientToken": text},
    }
    return {name: {"id": name, "type": "object", "properties": shape} for name, shape in shapes.items()}
