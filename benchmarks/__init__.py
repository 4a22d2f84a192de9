"""What the suite measures, as short scripts over the package."""
