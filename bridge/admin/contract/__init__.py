"""The contract with consumers as documents: JSON Schemas, AsyncAPI, and a schema registry."""
