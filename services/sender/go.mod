module github.com/postrider/postrider/services/sender

go 1.26.0

require (
	github.com/postrider/postrider/kit v0.0.0
	github.com/postrider/postrider/proto v0.0.0
	github.com/postrider/postrider/testkit v0.0.0
)

replace github.com/postrider/postrider/proto => ../../proto

replace github.com/postrider/postrider/kit => ../../kit

replace github.com/postrider/postrider/testkit => ../../testkit
