module github.com/postrider/postrider/services/resolver

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	github.com/postrider/postrider/testkit v0.0.0
	go.opentelemetry.io/otel v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/postrider/postrider/proto => ../../proto

replace github.com/postrider/postrider/kit => ../../kit

replace github.com/postrider/postrider/testkit => ../../testkit
