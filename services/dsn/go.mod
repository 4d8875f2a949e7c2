module github.com/postrider/postrider/services/dsn

go 1.26.0

require (
	github.com/postrider/postrider/kit v0.0.0
	github.com/postrider/postrider/proto v0.0.0
	google.golang.org/protobuf v1.36.12
)

require (
	github.com/emersion/go-message v0.18.2
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20260928230214-8a89bd6388cc // indirect
	google.golang.org/grpc v1.85.0 // indirect
)

replace github.com/postrider/postrider/proto => ../../proto

replace github.com/postrider/postrider/kit => ../../kit

replace github.com/postrider/postrider/testkit => ../../testkit
