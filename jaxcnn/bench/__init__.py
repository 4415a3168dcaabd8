"""Benchmarks of networks against other libraries, of launches and of the input pipeline, run by `jaxcnn.cli.bench`."""
