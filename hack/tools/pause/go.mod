module millrace.invalid/hack/tools/pause

go 1.24.0
