"""What people declare: the Rollout document, its validation, its JSON Schema."""
