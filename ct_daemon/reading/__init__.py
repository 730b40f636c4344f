"""From the bytes of a settings file to every fault in it: careful YAML, faults with their lines, reviewed names."""
