"""The quickstart: a public sentiment corpus as four GLUE-shaped tasks."""
