"""The bounded contexts of the management plane, one folder each. An app imports its own floor or below, never above."""
