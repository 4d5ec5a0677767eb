"""What an operator does, each file on testbeds of its own: they run beside the others' one."""
