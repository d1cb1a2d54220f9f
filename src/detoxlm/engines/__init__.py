"""What continues the prompts of a measurement: a model in this process (`here`, `in_vllm`) or a server (`endpoint`)."""
