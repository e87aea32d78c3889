"""What libraries' own sources say of their initialization, as configs, for their own weights to be verified against."""
