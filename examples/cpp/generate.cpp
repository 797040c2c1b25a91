// Generates an adapter for a task and saves it.
//
//   c++ -std=c++17 generate.cpp -o generate $(pkg-config --cflags --libs loragen)
//   ./generate digits.loragen.safetensors 0001100101 out
//
// writes out/adapter (a PEFT folder), out/adapter.safetensors and out/adapter.onnx.
#include <loragen.hpp>

#include <filesystem>
#include <iostream>

int main(int argc, char **argv) {
    if (argc != 4) {
        std::cerr << "usage: " << argv[0] << " GENERATOR BITS OUT\n";
        return 64;
    }
    try {
        // Opening maps the file and takes milliseconds. Keep the generator: it serves any number of requests, from any
        // number of threads.
        const loragen::generator generator(argv[1]);

        // The condition says which task the adapter is for. The same seed gives the same bytes, always.
        loragen::request request;
        request.bits = argv[2];
        request.seed = 7;
        const loragen::adapters adapters = generator.generate(request);

        // Views: the memory belongs to `adapters`. An adapter full of zeros is the commonest silent defect, so look at
        // the numbers too.
        std::cout << adapters.tensor_count() << " tensors\n";
        for (const loragen::tensor &tensor : adapters.tensors()) {
            std::cout << tensor.name << " [" << tensor.shape[0] << ", " << tensor.shape[1] << "]\n";
        }
        std::cout << "  norm of the first " << adapters.tensor(0).norm() << "\n"
                  << "origin " << adapters.origin() << "\n";

        const std::filesystem::path folder = argv[3];
        std::filesystem::create_directories(folder);
        adapters.save(folder / "adapter");
        adapters.save(folder / "adapter.safetensors");
        adapters.save(folder / "adapter.onnx");
    } catch (const loragen::error &error) {
        std::cerr << error.status_name() << ": " << error.what() << "\n";
        return 1;
    }
}
