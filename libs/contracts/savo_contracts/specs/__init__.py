"""Files generated from the topic registry: JSON Schemas, AsyncAPI, diagrams, golden messages."""
