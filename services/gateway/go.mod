module github.com/postrider/postrider/services/gateway

go 1.26.0

require (
	github.com/postrider/postrider/kit v0.0.0
	github.com/postrider/postrider/proto v0.0.0
	github.com/postrider/postrider/testkit v0.0.0
)

require github.com/oklog/ulid/v2 v2.1.2 // indirect

replace github.com/postrider/postrider/proto => ../../proto

replace github.com/postrider/postrider/kit => ../../kit

replace github.com/postrider/postrider/testkit => ../../testkit
