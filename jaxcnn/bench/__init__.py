"""Speed of networks, alone and against others; of a launch; of the input pipeline. `command.bench` does it all."""
