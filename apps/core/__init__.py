"""What has no domain: base model, commands, errors, pagination, generic view and API bases."""
