"""The operators' pages: server-rendered, in the API's process, over the API alone."""
