"""Objects over HTTP, in the manner of Riak KV."""
