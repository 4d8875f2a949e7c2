module github.com/postrider/postrider/tools/grpcurl

go 1.26.0
