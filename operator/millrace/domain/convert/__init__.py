"""Payloads of watsonx and YAML of Azure ML as our manifests: pure. What has no counterpart is refused, never left out."""
