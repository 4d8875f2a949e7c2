module github.com/postrider/postrider/tools/natsserver

go 1.26.0
