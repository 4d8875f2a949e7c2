module github.com/postrider/postrider/services/resolver

go 1.26.0

require (
	github.com/miekg/dns v1.1.73
	github.com/postrider/postrider/testkit v0.0.0
	go.opentelemetry.io/otel v1.47.0
	go.opentelemetry.io/otel/trace v1.47.0
	google.golang.org/protobuf v1.36.12
)

require (
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc v1.85.0 // indirect
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/postrider/postrider/kit v0.0.0
	github.com/postrider/postrider/proto v0.0.0
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/postrider/postrider/proto => ../../proto

replace github.com/postrider/postrider/kit => ../../kit

replace github.com/postrider/postrider/testkit => ../../testkit
