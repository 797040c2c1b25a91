import Tensor

/// Runs code whose errors are this library's but whose signature does not say so.
func typed<T>(_ body: () throws -> T) throws(LoragenError) -> T {
    do { return try body() } catch let error as LoragenError { throw error } catch {
        throw LoragenError(.internalError, "\(error)")
    }
}
