"""The page: read the digest, run the paper. One page in the browser, served from this machine and without any other."""
