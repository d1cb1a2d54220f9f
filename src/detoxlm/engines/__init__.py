"""What continues the prompts of a measurement: a model in this process (`here`), or behind an address (`endpoint`)."""
