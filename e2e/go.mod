module github.com/postrider/postrider/e2e

go 1.26.0

require (
	github.com/postrider/postrider/cmd/postrider v0.0.0
	github.com/postrider/postrider/kit v0.0.0
	github.com/postrider/postrider/proto v0.0.0
	github.com/postrider/postrider/services/dsn v0.0.0
	github.com/postrider/postrider/services/gateway v0.0.0
	github.com/postrider/postrider/services/resolver v0.0.0
	github.com/postrider/postrider/services/sender v0.0.0
	github.com/postrider/postrider/testkit v0.0.0
)

require github.com/emersion/go-message v0.18.2 // indirect

replace github.com/postrider/postrider/proto => ../proto

replace github.com/postrider/postrider/kit => ../kit

replace github.com/postrider/postrider/testkit => ../testkit

replace github.com/postrider/postrider/services/gateway => ../services/gateway

replace github.com/postrider/postrider/services/resolver => ../services/resolver

replace github.com/postrider/postrider/services/sender => ../services/sender

replace github.com/postrider/postrider/services/dsn => ../services/dsn

replace github.com/postrider/postrider/cmd/postrider => ../cmd/postrider
